"""Mix source text into the target text: the simplest thing to do against forgetting."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import nn
from typing_extensions import Doc

from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.methods.base import Method, Row, Sources
from lalora.options import BelowOne


@dataclass(eq=False)
class Replay(Method):
    """Target loss on batches of which a share of the rows is source text, the very rows that LaLoRA is fitted on.

    A source row takes the place of a target row, so that a run has as many optimizer steps and rows as any other and
    sees fewer rows of the target (experience replay, Robins, 1995).
    """

    name = "replay"
    label = "Replay"
    citation = "Robins, 1995"
    needs = "source text"
    knob = "share"
    grid = (0.1, 0.25, 0.5)
    needs_source = True

    share: Annotated[BelowOne, Doc("Of the rows, those that are source text; 0 is plain LoRA.")] = 0.25

    def __post_init__(self) -> None:
        """Check every option, and know of no row yet."""
        super().__post_init__()
        self._rows: list[Row] = []

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Keep the source rows."""
        self._rows = [row for batches in sources.values() for batch in batches for row in _rows(batch)]
        if not self._rows:
            raise LaloraError("method 'replay' needs source text: give at least one source")

    def training_rows(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Put source rows in the place of some target rows, every pass over them shuffled anew."""
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
