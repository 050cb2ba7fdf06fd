"""Intruder dimensions (Shuttleworth et al., 2024, arXiv 2410.21228), taken away by PEFT."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from lalora.methods import reduce_intruders, require_reducible
from lalora.posthoc.base import Rival
from lalora.softening import unchanged
from lalora.undisturbed import random_state_kept, trainability_kept


class IntruderRemoval(Rival):
    """Takes a share of each intruder dimension of W + ΔW away and cuts the rest back to rank r, as PEFT does it."""

    name = "intruders"
    label = "Intruders removed"
    citation = "Shuttleworth et al., 2024"
    needs = "three SVDs of every adapted weight each time; a base in floating point"
    knob = "removed"
    meaning = "the share of each intruder dimension that is removed"
    grid = (0.1, 0.25, 0.5, 1.0)
    most = 1.0

    def prepare(self) -> None:
        """Refuse what cannot be reduced."""
        require_reducible(self.trained.model)

    @contextmanager
    def at(self, knob: float) -> Generator[None, None, None]:
        """Reduce the intruders."""
        model = self.trained.model
        with unchanged(model):
            with random_state_kept(model), trainability_kept(model):
                reduce_intruders(model, knob)
            yield
