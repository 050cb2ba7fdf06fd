"""Mix source text into the target text: the simplest thing to do against forgetting."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import nn
from typing_extensions import Doc

from lalora.engines import FSDP2, ZERO
from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.methods._row_weights import RowWeights, completion_tokens
from lalora.methods.base import Method, Row, Sources
from lalora.options import BelowOne, OneOf


@dataclass(eq=False)
class Replay(Method):
    """Target loss on batches of which a share of the rows is source text, the very rows that LaLoRA is fitted on.

    A source row takes the place of a target row, so that a run has as many optimizer steps and rows as any other and
    sees fewer rows of the target (experience replay, Robins, 1995).

    The loss is a mean over completion tokens, so that short source rows have a smaller share of it than of the rows.
    `weigh: loss` gives them `share` of both: source rows take their places evenly, and their tokens and the target's
    have one weight each, by which source tokens weigh `share` of all tokens of the run and a token 1 on average. A step
    still divides by its own number of tokens; where steps hold unequal numbers of source rows, as when a Trainer
    shuffles, those with many of them count for somewhat more. `source_share`, which is logged beside the loss, is the
    source's share of the weights of all tokens. The reported loss is without weights.
    """

    name = "replay"
    label = "Replay"
    citation = "Robins, 1995"
    needs = "source text"
    knob = "share"
    grid = (0.1, 0.25, 0.5)
    needs_source = True
    engines = (FSDP2, ZERO)

    share: Annotated[BelowOne, Doc("Of the rows, those that are source text; 0 is plain LoRA.")] = 0.25
    weigh: Annotated[
        str,
        OneOf(("rows", "loss")),
        Doc("What `share` is of. rows: of the rows alone. loss: of the rows, and by weights of the loss too."),
    ] = "rows"

    def __post_init__(self) -> None:
        """Check every option, and know of no row yet."""
        super().__post_init__()
        self._rows: list[Row] = []
        self._weights: RowWeights | None = None
        self._source_share: float | None = None

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Keep the source rows."""
        self._rows = [row for batches in sources.values() for batch in batches for row in _rows(batch)]
        if not self._rows:
            raise LaloraError("method 'replay' needs source text: give at least one source")
        if self.weigh == "loss" and self.share > 0:
            self._weights = RowWeights(model)

    def training_rows(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Put source rows in the place of some target rows, every pass over them shuffled anew."""
        draw = random.Random(f"replay {seed}")
        waiting: list[Row] = []
        source, target, mixed = [], [], []
        for row, replaced in zip(rows, self._places(draw), strict=False):
            if replaced:
                waiting = waiting or draw.sample(self._rows, len(self._rows))
                source.append(waiting.pop())
            else:
                target.append(row)
            mixed.append(source[-1] if replaced else row)
        if source:
            self._weigh(source, target)
        return mixed

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Tell the source's share of the weights of all tokens."""
        return {} if self._source_share is None else {"source_share": self._source_share}

    def _places(self, draw: random.Random) -> Iterator[bool]:
        if self.weigh == "rows":
            while True:
                yield draw.random() < self.share
        # As many in each step as can be, so that no step is of source rows alone.
        offset, place = draw.random(), 0
        while True:
            yield math.floor((place + 1) * self.share + offset) > math.floor(place * self.share + offset)
            place += 1

    def _weigh(self, source: list[Row], target: list[Row]) -> None:
        ours, theirs = (sum(map(completion_tokens, rows)) for rows in (source, target))
        every = max(ours + theirs, 1)
        self._source_share = ours / every
        # Where there is nothing to weigh against, all tokens weigh alike.
        if self._weights is not None and ours and theirs:
            self._source_share = self.share
            self._weights.set([((1 - self.share) * every / theirs, target), (self.share * every / ours, source)])


def _rows(batch: Batch) -> list[Row]:
    shown = batch["attention_mask"].bool()
    return [
        {name: batch[name][index][shown[index]].tolist() for name in ("input_ids", "labels")}
        for index in range(len(shown))
    ]
