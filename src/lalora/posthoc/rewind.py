"""Earlier checkpoints: the adapter as it was before its training ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

from torch import Tensor

from lalora.adapter import linear_pairs
from lalora.errors import LaloraError
from lalora.posthoc.base import Rival
from lalora.posthoc.held import with_adapter, with_changes

_DIGITS = 9


class Rewind(Rival):
    """Goes back along the path of training, to the adapter after a share t of the steps.

    PEFT-Arena (Huang et al., 2026, arXiv 2605.28819) compares two ways back: earlier checkpoints, which this is, and a
    smaller ΔW, which for LoRA is what it calls rewinding and what `scales` measures. Between two steps ΔW is
    interpolated, as it says of additive updates; the result has rank 2r.
    """

    name = "rewind"
    label = "Earlier checkpoint"
    citation = "Huang et al., 2026"
    needs = "adapters kept while training"
    knob = "t"
    meaning = "the share of the training steps after which the adapter was kept"
    grid = (0.75, 0.5, 0.25, 0.1)
    adapter = 1.0
    most = 1.0
    rewinds = True
    full_rank = True

    def prepare(self) -> None:
        """Ask for the steps.

        Raises:
            LaloraError: If it is not known how many there were.
        """
        if self.trained.steps < 1:
            raise LaloraError(
                "earlier adapters are found by their step: give Trained the steps of the training, and earlier="
            )

    def at(self, knob: float) -> AbstractContextManager[None]:
        """Put the earlier adapter in the place of the last one."""
        model, (below, above, share) = self.trained.model, between(knob, self.trained.steps)
        if share == 0 and below > 0:
            return with_adapter(model, self._pairs(below))
        first, second = self._changes(below), self._changes(above)
        return with_changes(model, {name: first[name] * (1 - share) + second[name] * share for name in second})

    def _pairs(self, step: int) -> Mapping[str, tuple[Tensor, Tensor]]:
        pairs = linear_pairs(self.trained.model)
        if step == self.trained.steps:
            return {pair.layer: (pair.down.weight.detach(), pair.up.weight.detach()) for pair in pairs}
        tensors = self.trained.at_step(step)
        if missing := [pair.a for pair in pairs if pair.a not in tensors or pair.b not in tensors]:
            raise LaloraError(f"the adapter kept after step {step} lacks '{missing[0]}': it is of another run")
        return {pair.layer: (tensors[pair.a], tensors[pair.b]) for pair in pairs}

    def _changes(self, step: int) -> Mapping[str, Tensor]:
        scaling = {pair.layer: pair.scaling for pair in linear_pairs(self.trained.model)}
        if step == 0:
            return {name: change * 0 for name, change in self._changes(self.trained.steps).items()}
        return {name: b.float() @ a.float() * scaling[name] for name, (a, b) in self._pairs(step).items()}


def between(share: float, steps: int) -> tuple[int, int, float]:
    """Find the steps below and above a share of the steps, and how far it lies from the one below."""
    at = round(share * steps, _DIGITS)
    below = math.floor(at)
    return below, math.ceil(at), at - below


def kept_steps(shares: Iterable[float], steps: int) -> frozenset[int]:
    """List the steps after which an adapter has to be kept; the first and the last need none."""
    return frozenset(step for share in shares for step in between(share, steps)[:2]) - {0, steps}
