"""How sure the mean KL over rows is: a bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lalora.scoring._rows import RowScores

_DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: Nats per token.
        low: Lower end of the 95 % interval.
        high: Its upper end.
    """

    mean: float
    low: float
    high: float


def interval(scores: Mapping[str, RowScores], seed: int = 0) -> Interval:
    """Bootstrap the KL per token over the rows of each text, averaged over the texts."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.zeros(_DRAWS, dtype=torch.float64)
    for text in scores.values():
        drawn = torch.randint(len(text.tokens), (_DRAWS, len(text.tokens)), generator=generator)
        # A draw of rows that have no token at all says nothing: as if there had been one.
        means += text.kl[drawn].sum(1) / text.tokens[drawn].sum(1).clamp_min(1) / len(scores)
    ends = torch.quantile(means, torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64))
    mean = sum(text.mean_kl for text in scores.values()) / len(scores)
    return Interval(mean, *ends.tolist())
