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
ALLOWED = 3.0
"""How many budgets of drift the size of the steps themselves may make at the start."""
_SETTLED = 0.9
_MOST_ERROR = 1.5
_LEAST, _MOST = 1e-3, 1e3
_FILE = "control.json"


@dataclass
class Control:
    """A controller of the factor that all strengths of a run are multiplied with.

    At each measurement ln factor grows by GAIN·e + DAMPING·(e − e before), where e is how far the drift, in logarithms,
    is outside of a band. This is the adaptive KL controller of Ziegler et al. (2019, arXiv 1909.08593) in logarithms,
    with a term for the slope and a band that narrows to the budget, which it is at nine tenths of the steps. Above
    stands the budget times 1 + ALLOWED·(share of the steps left)², for steps of AdamW are as large as the learning rate
    whatever the gradient, and make a drift of its square that no strength takes away and that goes when it falls. Below
    stands the budget times the share done, for drift adds up.

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

    def update(self, step: int, steps: int, drift: float) -> None:
        """Take a measurement after so many of all steps, and choose the factor."""
        now = self._error(step / steps, drift)
        change = GAIN * now
        if self.drifts:
            last = max(self.drifts)
            change += DAMPING * (now - self._error(last / steps, self.drifts[last]))
        self.drifts[step] = drift
        self.factor = min(max(self.factor * math.exp(change), _LEAST), _MOST)

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

    def _error(self, share: float, drift: float) -> float:
        done = min(share / _SETTLED, 1.0)
        used = math.log(max(drift, 1e-12) / self.budget)
        above, below = math.log(1 + ALLOWED * (1 - done) ** 2), math.log(done)
        outside = max(used - above, 0.0) + min(used - below, 0.0)
        return min(max(outside, -_MOST_ERROR), _MOST_ERROR)


def controlled(methods: InTurn) -> list[Method]:
    """Find the methods whose knob is a strength above zero."""
    return [method for method in methods if method.knob == STRENGTH and method.strength_now > 0]
