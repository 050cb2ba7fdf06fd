"""Strengths that are raised or lowered while training, so that the measured drift ends at a budget."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lalora.errors import LaloraError
from lalora.files import parse_json, read_small, write_atomically
from lalora.methods import InTurn
from lalora.methods.base import STRENGTH, Method

GAIN = 0.7
DAMPING = 0.5
_MOST_ERROR = 1.5
_LEAST, _MOST = 1e-3, 1e6
_FILE = "control.json"


@dataclass
class Control:
    """A controller of the factor that all strengths of a run are multiplied with.

    It goes by e = ln(drift / budget) at each measurement: ln factor grows by GAIN·e + DAMPING·(e − e before), so that a
    drift above the budget raises the strengths, and one that grows towards it does so before it is there. This is the
    adaptive KL controller of Ziegler et al. (2019, arXiv 1909.08593) in logarithms, with a term for the slope.

    Attributes:
        budget: KL(base ‖ model) in nats per token.
        every: Optimizer steps from one measurement to the next.
        factor: What the strengths are multiplied with now.
        drifts: What was measured, by step.
    """

    budget: float
    every: int
    factor: float = 1.0
    drifts: dict[int, float] = field(default_factory=dict)

    def is_due(self, step: int) -> bool:
        """Tell whether to measure after so many steps."""
        return step > 0 and step % self.every == 0 and step not in self.drifts

    def update(self, step: int, drift: float) -> None:
        """Take a measurement after so many steps, and choose the factor."""
        now = self._error(drift)
        before = self._error(self.drifts[max(self.drifts)]) if self.drifts else now
        self.drifts[step] = drift
        grown = math.log(self.factor) + GAIN * now + DAMPING * (now - before)
        self.factor = min(max(math.exp(grown), _LEAST), _MOST)

    def set(self, methods: InTurn) -> None:
        """Multiply the strengths."""
        for method in controlled(methods):
            method.factor = self.factor

    @property
    def is_at_its_end(self) -> bool:
        """Whether the strengths cannot be raised any further."""
        return self.factor >= _MOST

    def save(self, folder: Path) -> None:
        """Keep it in a checkpoint."""
        write_atomically(folder / _FILE, json.dumps(asdict(self)).encode())

    def load(self, folder: Path) -> None:
        """Go on as a checkpoint says."""
        path = folder / _FILE
        if not path.is_file():
            raise LaloraError(f"{folder} was not trained to a budget by control: give the same budget_by to resume")
        try:
            kept = parse_json(read_small(path))
            budget, every, factor = float(kept["budget"]), int(kept["every"]), float(kept["factor"])
            drifts = {int(step): float(drift) for step, drift in kept["drifts"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LaloraError(f"{path} is damaged: resume from another checkpoint") from error
        for name, value, now in (("budget", budget, self.budget), ("control_every", every, self.every)):
            if value != now:
                raise LaloraError(f"{folder} was trained with {name} {value:g}, not {now:g}: give the same to resume")
        self.factor, self.drifts = factor, drifts

    def _error(self, drift: float) -> float:
        error = math.log(max(drift, 1e-12) / self.budget)
        return min(max(error, -_MOST_ERROR), _MOST_ERROR)


def controlled(methods: InTurn) -> list[Method]:
    """Find the methods whose knob is a strength above zero."""
    return [method for method in methods if method.knob == STRENGTH and method.strength_now > 0]
