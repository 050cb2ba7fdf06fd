"""What the base says of the scored rows, kept while several versions of one model are measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lalora.scoring import MOST_BYTES, Compared, RowScores, TextScore


class KeptBase:
    """Scores a model on the domains that drift is measured on, with one forward pass of the base for all versions.

    Attributes:
        rows: What was measured last on each row, by domain.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        text: Mapping[str, Sequence[Mapping[str, Tensor]]],
        base: torch.nn.Module | None = None,
    ) -> None:
        """Take the scored rows of these domains; nothing is computed yet."""
        share = MOST_BYTES // max(len(text), 1)
        self._texts = {domain: Compared(model, rows, base, share) for domain, rows in text.items()}
        self.rows: dict[str, RowScores] = {}

    def score(self, domain: str) -> TextScore:
        """Score the model as it is now.

        Args:
            domain: One that drift is measured on.

        Returns:
            What `score_text` gives, to the bit.
        """
        rows = self.rows[domain] = self._texts[domain].score()
        return TextScore(rows.mean_loss, rows.mean_kl, int(rows.tokens.sum()))
