"""Scores of each row of a text."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RowScores:
    """What was measured on each row; rows without completion tokens count zero tokens.

    Attributes:
        loss: Negative log-likelihood, summed over the tokens of each row, nats, (rows,).
        kl: KL(base ‖ model), summed likewise, (rows,).
        tokens: Completion tokens of each row, (rows,).
    """

    loss: Tensor
    kl: Tensor
    tokens: Tensor

    @property
    def mean_loss(self) -> float:
        """Negative log-likelihood in nats per token."""
        return float(self.loss.sum() / self.tokens.sum())

    @property
    def mean_kl(self) -> float:
        """KL(base ‖ model) in nats per token."""
        return float(self.kl.sum() / self.tokens.sum())
