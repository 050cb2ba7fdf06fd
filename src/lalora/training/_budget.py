"""A bound on the drift of what a Trainer trains, kept by control of the strengths, by softening, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from peft import PeftModel

from lalora import processes
from lalora.batches import Batch
from lalora.curvature import WeightKfac
from lalora.errors import LaloraError, warn
from lalora.fisher import Sources, named_sources
from lalora.laplace import Laplace
from lalora.methods import InTurn, LaLoRA
from lalora.scoring import ready_batches
from lalora.softening import (
    Choice,
    Front,
    HeldOut,
    hashes,
    keep_beside,
    require_budget,
    require_softenable,
    soften,
    within,
)
from lalora.training._control import Control, controlled

WAYS = ("softening", "control", "both")
NEAR = 1.2
"""How far beyond its budget a run may end by control alone."""
TRAINED = "trained"
"""Name of the adapter as it was before it was softened."""
ROWS = 32
"""Of the target, for its curvature."""


class Budget:
    """Most KL(base ‖ model), in nats per token on rows that nothing is fitted on, averaged over sources.

    Attributes:
        drift: The budget.
        by: How it is kept: `softening`, `control` or `both`.
        rows: What it is measured on, by source.
        control: The controller of the strengths; None by softening alone.
        front: Of the trained adapter, once it was softened.
        choice: Where on that front it is within the budget, or nearest to it.
    """

    def __init__(self, drift: float, rows: Sources | Iterable[Batch], by: str, every: int) -> None:
        """Take the rows, and refuse what cannot be kept.

        Raises:
            LaloraError: If the drift is not above zero, or there are no rows.
        """
        require_budget("budget", drift)
        if by not in WAYS:
            raise LaloraError(f"budget_by is {by!r}: choose {', '.join(WAYS)}")
        if not rows:
            raise LaloraError("a budget is measured: give budget_batches, source rows that nothing else is fitted on")
        self.drift, self.by, self._every = drift, by, every
        self._rows = {name: list(batches) for name, batches in named_sources(rows).items()}
        self.control: Control | None = None
        self.front: Front | None = None
        self.choice: Choice | None = None
        self._target: list[Batch] = []
        self._sources: Sources = {}

    @property
    def softens(self) -> bool:
        """Whether the adapter is softened at the end."""
        return self.by != "control"

    def prepare(self, model: PeftModel, methods: InTurn, sources: Sources, target: Sequence[Batch]) -> None:
        """Take the rows, before the first step.

        Raises:
            LaloraError: If rows are unusable, the budget is measured on rows that something is fitted on, no method has
                a strength to control, one trains on other base weights, or there is nothing to fit a source on.
        """
        if methods.own_start:
            raise LaloraError(f"a budget is measured against the base model, whose weights '{methods.name}' replaces")
        if self.by != "softening" and not controlled(methods):
            raise LaloraError(
                f"budget_by='{self.by}' raises and lowers strengths, and '{methods.name}' has none above 0: add a "
                "method such as KL(), or choose budget_by='softening'"
            )
        self.held = HeldOut(model, self._rows)
        self.control = None if self.by == "softening" else Control(self.drift, self._every)
        self.front, self.choice = None, None
        self._target, self._sources = list(target), sources
        fitted = set().union(*(hashes(list(ready_batches(model, batches))) for batches in [*sources.values(), target]))
        laplace = _of_base(methods)
        if laplace is not None:
            fitted |= {dataset.sha256 for dataset in laplace.provenance.datasets}
        self.held.require_unseen(fitted)
        if self.softens:
            require_softenable(model)
            if laplace is None and not sources:
                raise LaloraError(
                    "softening fits the source's curvature: give sources=, or a Laplace with curvature='weight-kfac'"
                )

    def begin(self, model: PeftModel) -> None:
        """Leave the adapter of an earlier training out of this one."""
        if TRAINED in model.peft_config:
            model.delete_adapter(TRAINED)

    def before_step(self, step: int, steps: int, methods: InTurn) -> dict[str, float]:
        """Measure and control the strengths if it is time.

        Returns:
            What to log: `drift` and `strength_factor`, or nothing.
        """
        if self.control is None or not self.control.is_due(step):
            return {}
        return self._controlled(step, steps, methods)

    def after_training(self, model: PeftModel, methods: InTurn, step: int, seed: int) -> dict[str, float]:
        """Soften the trained adapter, and say whether the budget is met.

        Returns:
            What to log: `drift` and, where it was softened, `trained_drift` and `softening_strength`.
        """
        if not self.softens:
            assert self.control is not None
            found = {} if step in self.control.drifts else self._controlled(step, step, methods)
            self._tell(self.control)
            return found
        self.choice = self._soften(model, methods, seed)
        if not self.choice.met:
            warn(
                f"the budget of {self.drift:g} nats per token cannot be met: softened as far as λ = "
                f"{self.choice.strength:g} the adapter drifts {self.choice.measured.drift:.3g}, which it is left at"
            )
        trained = self.choice.tried[0.0].drift
        return {
            "trained_drift": trained,
            "drift": self.choice.measured.drift,
            "softening_strength": self.choice.strength,
        }

    def save(self, folder: Path) -> None:
        """Keep in a checkpoint what is not found again."""
        if self.control is not None:
            self.control.save(folder)

    def load(self, folder: Path, methods: InTurn) -> None:
        """Go on as a checkpoint says."""
        if self.control is not None:
            self.control.load(folder)
            self.control.set(methods)

    def _controlled(self, step: int, steps: int, methods: InTurn) -> dict[str, float]:
        assert self.control is not None
        # The main process's number, so that no rounding lets two processes train on with other strengths.
        drift = processes.all_gather(self.held.measure().drift)[0]
        self.control.update(step, steps, drift)
        self.control.set(methods)
        return {"drift": drift, "strength_factor": self.control.factor}

    def _tell(self, control: Control) -> None:
        drift = control.drifts[max(control.drifts)]
        if drift > NEAR * self.drift:
            most = " at their bound" if control.is_at_its_end else ""
            warn(
                f"the budget of {self.drift:g} nats per token is not met: with strengths times {control.factor:.3g}"
                f"{most} training ends at {drift:.3g}; budget_by='both' softens what is beyond it"
            )
        elif drift < self.drift / NEAR:
            warn(
                f"the budget of {self.drift:g} nats per token is not used up: training ends at {drift:.3g} with "
                f"strengths times {control.factor:.3g}; give smaller strengths, or train longer"
            )

    def _soften(self, model: PeftModel, methods: InTurn, seed: int) -> Choice:
        laplace = _of_base(methods)
        source = None if laplace is not None else self._sources
        front = soften(model, self._target, laplace, source=source, seed=seed, progress=False)
        choice = within(lambda strength: front.measure(strength, self.held), self.drift, None)
        strength = processes.all_gather(choice.strength)[0]
        if strength > 0:
            keep_beside(model, TRAINED)
            front.apply(model, strength)
        self.front = front
        return choice


def _of_base(methods: InTurn) -> Laplace | None:
    """Find a Laplace among the methods that softening can use: around the base, and never fitted again."""
    for method in methods:
        if isinstance(method, LaLoRA) and method.refit_every is None and method.laplace is not None:
            curvature = method.laplace.curvature
            if isinstance(curvature, WeightKfac) and not any(one.changes for one in curvature.anchors.values()):
                return method.laplace
    return None
