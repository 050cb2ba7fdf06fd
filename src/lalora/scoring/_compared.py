"""A text with what the base model says of it, kept so that each further measurement costs one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from lalora.adapter import peft_model
from lalora.completion import completion
from lalora.scoring._rows import RowScores
from lalora.scoring._text import both_undisturbed, by_row, joined, of_base, ready_batches, require_base

MOST_BYTES = 1 << 30
"""Of logits that are kept; those beyond are computed again each time."""


class Compared:
    """Measures one model again and again on a text, while its adapter changes."""

    def __init__(
        self,
        model: torch.nn.Module,
        batches: Iterable[Mapping[str, Tensor]],
        base: torch.nn.Module | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Take the text; nothing is computed yet."""
        self._model = peft_model(model) if base is None else model
        require_base(self._model, base)
        self._base = base
        self._most_bytes = most_bytes
        self.batches = list(ready_batches(self._model, batches))

    @cached_property
    def _kept(self) -> list[Tensor | None]:
        kept: list[Tensor | None] = []
        size = 0
        with both_undisturbed(self._model, self._base):
            for ready in self.batches:
                logits = of_base(self._model, self._base, ready) if size < self._most_bytes else None
                size += 0 if logits is None else logits.nbytes
                kept.append(None if logits is None else logits.cpu())
        return kept

    def score(self) -> RowScores:
        """Measure the model as it is now."""
        found = []
        kept = self._kept
        with both_undisturbed(self._model, self._base):
            for ready, logits in zip(self.batches, kept, strict=True):
                before = of_base(self._model, self._base, ready) if logits is None else logits
                found.append(by_row(completion(self._model, ready), before, len(ready["input_ids"])))
        return joined(found)
