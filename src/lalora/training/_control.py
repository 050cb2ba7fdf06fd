"""Strengths that are raised or lowered while training, so that the measured drift ends at a budget."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from lalora.errors import LaloraError
from lalora.files import parse_json, read_small, write_atomically
from lalora.methods import InTurn
from lalora.methods.base import STRENGTH, Method

GAIN = 0.7
DAMPING = 0.5
_MOST_ERROR = 1.5
_LEAST, _MOST = 1e-3, 1e3
_FILE = "control.json"


@dataclass
class Control:
    """A controller of the factor that all strengths of a run are multiplied with.

    At each measurement ln factor grows by GAIN·e + DAMPING·(e − e before), where e is how far the drift, in logarithms,
    is outside of a band. This is the adaptive KL controller of Ziegler et al. (2019, arXiv 1909.08593) in logarithms,
    with a term for the slope and a band that narrows to the budget. The band is there because steps of AdamW are as
    large as the learning rate whatever the gradient: they throw the drift up and down, no strength takes this away, and
    it goes with the square of a learning rate that falls. How much of the drift that is, is read off the measurements:
    half of the median second difference, each divided by the square of the share of the steps that were left. The band
    goes from the budget and half of it to the budget and all of it; in the first half of the training the lower end
    grows with the steps, for drift adds up. The smaller of the last two measurements counts. Nothing is changed before
    the third.

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
        """Take a measurement after so many of all steps, and choose the factor of those to come."""
        before = self._error(steps)
        self.drifts[step] = drift
        if step == steps:
            return
        now = self._error(steps)
        change = GAIN * now + DAMPING * (now - before)
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
        for name, value, now in (("budget", budget, self.budget), ("budget_every", every, self.every)):
            if value != now:
                raise LaloraError(f"{folder} was trained with {name} {value:g}, not {now:g}: give the same to resume")
        self.factor, self.drifts = factor, drifts

    def _error(self, steps: int) -> float:
        made_by_steps = self._made_by_steps(steps)
        if made_by_steps is None:
            return 0.0
        *_, (_, before), (last, now) = self.drifts.items()
        drift = max(min(before, now), 1e-12)
        above = self.budget + made_by_steps
        below = (self.budget + made_by_steps / 2) * min(2 * last / steps, 1.0)
        outside = max(math.log(drift / above), 0.0) + min(math.log(drift / below), 0.0)
        return min(max(outside, -_MOST_ERROR), _MOST_ERROR)

    def _made_by_steps(self, steps: int) -> float | None:
        """Estimate how much of the last drift goes when the learning rate has fallen to zero."""
        measured = [(drift, 1 - step / steps) for step, drift in self.drifts.items()]
        thrown = [
            abs(one - 2 * two + three) / (2 * left**2)
            for (one, _), (two, left), (three, _) in zip(measured, measured[1:], measured[2:], strict=False)
        ]
        return median(thrown) * measured[-1][1] ** 2 if thrown else None


def require_uncontrolled(folder: Path) -> None:
    """Refuse a checkpoint whose strengths were controlled, for a run whose are not."""
    if (folder / _FILE).is_file():
        raise LaloraError(f"{folder} was trained to a budget by control: give the same budget and budget_by to resume")


def controlled(methods: InTurn) -> list[Method]:
    """Find the methods whose knob is a strength above zero."""
    return [method for method in methods if method.knob == STRENGTH and method.strength_now > 0]
