"""Mix source text into the target text: the simplest thing to do against forgetting."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.methods.base import Method, Row


class Replay(Method):
    """Target loss on batches of which a share of the rows is proxy text, the very rows that LaLoRA is fitted on.

    A proxy row takes the place of a target row, so that a run has as many optimizer steps and rows as any other and
    sees fewer rows of the target (experience replay, Robins, 1995).
    """

    name = "replay"
    label = "Replay"
    citation = "Robins, 1995"
    needs = "source text"
    knob = "share"
    grid = (0.1, 0.25, 0.5)
    needs_source = True

    def __init__(self, share: float = 0.25) -> None:
        """Choose the share.

        Args:
            share: Of the rows, at least 0 and below 1; 0 is plain LoRA.

        Raises:
            LaloraError: If it is out of range.
        """
        if not 0 <= share < 1:
            raise LaloraError(f"share must be at least 0 and below 1, not {share}")
        self.share = share
        self._rows: list[Row] = []

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Keep the proxy rows.

        Args:
            model: Not looked at.
            proxies: Batches of surrogate source text by dataset.

        Raises:
            LaloraError: If there is no row.
        """
        self._rows = [row for batches in proxies.values() for batch in batches for row in _rows(batch)]
        if not self._rows:
            raise LaloraError("method 'replay' needs source text: name at least one source domain")

    def training_rows(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Put proxy rows in the place of some target rows, every pass over them shuffled anew.

        Args:
            rows: Target rows in the order of training.
            seed: Of the choice.

        Returns:
            As many rows.
        """
        draw = random.Random(f"replay {seed}")
        waiting: list[Row] = []
        mixed = []
        for row in rows:
            if draw.random() >= self.share:
                mixed.append(row)
                continue
            waiting = waiting or draw.sample(self._rows, len(self._rows))
            mixed.append(waiting.pop())
        return mixed


def _rows(batch: Batch) -> list[Row]:
    shown = batch["attention_mask"].bool()
    return [
        {name: batch[name][index][shown[index]].tolist() for name in ("input_ids", "labels")}
        for index in range(len(shown))
    ]
