"""A bound on the drift of what a Trainer trains, kept by control of the strengths, by softening, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peft import PeftModel

from lalora import processes
from lalora.batches import Batch
from lalora.curvature import WeightKfac
from lalora.errors import LaloraError, warn
from lalora.fisher import Sources, named_sources
from lalora.laplace import Laplace, anchors_of, require_integer
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
from lalora.text import Text
from lalora.training._control import Control, controlled, require_uncontrolled

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

    def __init__(self, drift: float, rows: Text, by: str, every: int) -> None:
        """Take the rows, and refuse what cannot be kept.

        Raises:
            LaloraError: If the drift is not above zero, or there are no rows.
        """
        require_budget("budget", drift)
        if by not in WAYS:
            raise LaloraError(f"budget_by is {by!r}: choose {', '.join(WAYS)}")
        require_integer("budget_every", every, 1)
        if not rows:
            raise LaloraError("a budget is measured: give budget_batches, source rows that nothing else is fitted on")
        self.drift, self.by, self._every = drift, by, every
        self.rows = rows
        self.control: Control | None = None
        self.front: Front | None = None
        self.choice: Choice | None = None
        self._keeps_trained = False
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
        if TRAINED in model.peft_config and not self._keeps_trained:
            raise LaloraError(
                f"the model has an adapter '{TRAINED}', and under this name a budget keeps what it softens: rename it, "
                "or delete it"
            )
        if methods.own_start:
            raise LaloraError(f"a budget is measured against the base model, whose weights '{methods.name}' replaces")
        if self.by != "softening" and not controlled(methods):
            raise LaloraError(
                f"budget_by='{self.by}' raises and lowers strengths, and '{methods.name}' has none above 0: add a "
                "method such as KL(), or choose budget_by='softening'"
            )
        self.rows = {name: list(batches) for name, batches in named_sources(self.rows).items()}
        self.held = HeldOut(model, self.rows)
        for name, text in self.held.sources.items():
            if not any(bool((batch["labels"] != -100).any()) for batch in text.batches):
                raise LaloraError(f"budget_batches['{name}'] has no completion token: every label is -100")
        self.control = None if self.by == "softening" else Control(self.drift, self._every)
        self.front, self.choice = None, None
        self._target, self._sources = list(target), sources
        fitted = set().union(*(hashes(list(ready_batches(model, batches))) for batches in [*sources.values(), target]))
        fitted |= {dataset.sha256 for laplace in _given(methods) for dataset in laplace.provenance.datasets}
        self.held.require_unseen(fitted)
        if self.softens:
            require_softenable(model)
            if _of_base(methods) is None and not any(sources.values()):
                raise LaloraError(
                    "softening fits the source's curvature: give sources=, or a Laplace with curvature='weight-kfac'"
                )
            if not target:
                raise LaloraError(
                    "softening fits the target's curvature, and no training row is left for it: give budget_target"
                )

    def begin(self, model: PeftModel) -> None:
        """Leave the adapter of an earlier training out of this one."""
        if self._keeps_trained:
            model.delete_adapter(TRAINED)
            self._keeps_trained = False

    def before_step(self, step: int, steps: int, methods: InTurn) -> dict[str, float]:
        """Measure and control the strengths if it is time.

        Returns:
            What to log: `drift` and `strength_factor`, or nothing.
        """
        if self.control is not None and step == 0 and self.control.drifts:  # trained once more, from the start
            self.control = Control(self.drift, self._every)
            self.control.set(methods)
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
            found = self._controlled(step, step, methods)
            self._tell(self.control)
            return found
        if not any(anchor.changes for anchor in anchors_of(model, WeightKfac.kind).values()):
            return {"trained_drift": 0.0, "drift": 0.0, "softening_strength": 0.0}
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

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in."""
        return {"budget": self.drift, "budget_by": self.by, "budget_every": self._every}

    def save(self, folder: Path) -> None:
        """Keep in a checkpoint what is not found again."""
        if self.control is not None:
            self.control.save(folder)

    def load(self, folder: Path, methods: InTurn) -> None:
        """Go on as a checkpoint says."""
        if self.control is None:
            require_uncontrolled(folder)
            return
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
            self._keeps_trained = True
            front.apply(model, strength)
        self.front = front
        return choice


def _of_base(methods: InTurn) -> Laplace | None:
    """Find a Laplace among the methods that softening can use: around the base, and never fitted again."""
    for laplace in _given(methods, never_refitted=True):
        curvature = laplace.curvature
        if isinstance(curvature, WeightKfac) and not any(one.changes for one in curvature.anchors.values()):
            return laplace
    return None


def _given(methods: InTurn, never_refitted: bool = False) -> list[Laplace]:
    return [
        method.laplace
        for method in methods
        if isinstance(method, LaLoRA) and method.laplace is not None and not (never_refitted and method.refit_every)
    ]
