"""The Hugging Face Trainer with any methods, and with a budget of drift."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import Trainer

from lalora.adapter import peft_model
from lalora.errors import LaloraError
from lalora.fisher import Batch, Sources
from lalora.methods import Method
from lalora.scoring import ready_batches
from lalora.softening import Choice, Front
from lalora.text import Text
from lalora.training._budget import ROWS, Budget
from lalora.training._control import require_uncontrolled
from lalora.training._gradient_hook import Step
from lalora.training._in_turn import InTurnMixin
from lalora.training._target_rows import target_rows

if TYPE_CHECKING:
    from transformers.trainer_utils import TrainOutput


class MethodMixin(InTurnMixin):
    """Lets methods act in any Trainer: `MethodTrainer(methods=[LaLoRA(30), KL()], sources=…, model=…, args=…)`.

    `class MyTrainer(MethodMixin, SFTTrainer)` is all that TRL needs. They act in turn on the same gradient, complete
    but not yet clipped, so that their penalties add; the reported `loss` is the target loss alone, and what they
    measure stands beside it. A checkpoint holds what they need to go on, and `save_model` writes an adapter for the
    untouched base model. With `model_init` they get ready anew for each new model.

    With a `budget` the adapter ends with at most so much drift, measured on `budget_batches`: by `lalora.soften` after
    the last step, by strengths that are raised and lowered while it trains, or by both. A softened adapter takes the
    place of the trained one, which stays in the model, and in what `save_model` writes, under the name `trained`. The
    log tells `drift`; `strength_factor` of control; `trained_drift` and `softening_strength` of softening.
    """

    def __init__(
        self,
        *args: Any,
        methods: Sequence[Method] = (),
        sources: Sources | Iterable[Batch] | Text = (),
        budget: float | None = None,
        budget_batches: Sources | Iterable[Batch] | Text = (),
        budget_by: str = "softening",
        budget_every: int = 4,
        budget_target: Iterable[Batch] | Text | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the Trainer, and let the methods get ready.

        Args:
            *args: The Trainer's own.
            methods: What acts, each once; plain LoRA where there is none.
            sources: Source text for those that need it, as in `lalora.fit`: a mapping of dataset names to iterables of
                batches, or one such iterable, the same in every process; read once and kept. Where the Trainer has a
                `processing_class`, here and below also whatever `lalora.source_batches` takes.
            budget: Most KL(base ‖ model), in nats per token, averaged over the sources of `budget_batches`.
            budget_batches: Source rows that the budget is measured on, as `sources`; nothing is fitted on them.
            budget_by: `softening`, `control` of the strengths while training, or `both`.
            budget_every: Optimizer steps from one measurement to the next, for control.
            budget_target: Batches of what is trained on, for the target's curvature in softening. By default 32
                training rows, which have to be rows of tokens with labels, and no stream.
            **kwargs: The Trainer's own.

        Raises:
            LaloraError: If the methods make no sense together or cannot work with this model, a batch is unusable,
                gradients are sharded, or the budget cannot be kept with these methods and rows.
        """
        self._budget = _budget(budget, budget_batches, budget_by, budget_every)
        self._budget_target = budget_target
        super().__init__(*args, methods=methods, sources=sources, **kwargs)
        if self._budget is not None and self._budget.softens and self.engine is not None:
            raise LaloraError(
                f"under {self.engine} no process holds the adapter that a budget would soften: give "
                "budget_by='control', or train without a budget and soften what save_model wrote"
            )

    @property
    def front(self) -> Front | None:
        """All trade-offs of the trained adapter, once it was softened to the budget."""
        return None if self._budget is None else self._budget.front

    @property
    def budget_choice(self) -> Choice | None:
        """The strength that it was softened with, and what was measured there and on the way."""
        return None if self._budget is None else self._budget.choice

    def prepare(self, model: nn.Module) -> None:
        """Let methods and budget get ready, and choose what is trained on.

        Args:
            model: At its start.

        Raises:
            LaloraError: If one cannot work with this model, these sources or these rows.
        """
        super().prepare(model)
        self.prepare_budget(model)

    def prepare_budget(self, model: nn.Module) -> None:
        """Let the budget get ready, after the methods.

        Args:
            model: At its start.

        Raises:
            LaloraError: If it cannot be kept with these methods, or its rows are unusable.
        """
        if self._budget is not None:
            self._budget.rows = self._as_batches(self._budget.rows)
            self._budget.prepare(peft_model(model), self.methods, self._sources, self._target(model))

    def _target(self, model: nn.Module) -> list[Batch]:
        assert self._budget is not None
        if not self._budget.softens:
            return []
        if self._budget_target is not None:
            self._budget_target = list(self._as_batches(self._budget_target))
            return list(ready_batches(model, self._budget_target))
        try:
            return list(ready_batches(model, target_rows(self, self._rows, ROWS, self.args.seed)))
        except LaloraError as error:
            raise LaloraError(
                f"a budget fits the target's curvature, and training rows are not what it takes ({error}): give "
                "budget_target, batches of tokens with labels"
            ) from error

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, and keep the budget.

        Args:
            *args: The Trainer's own.
            **kwargs: The Trainer's own.

        Returns:
            The Trainer's own.

        Raises:
            LaloraError: If the processes differ in anything that they must agree in, or a checkpoint is another run's.
        """
        if self._budget is not None:
            self._budget.begin(self._adapted)
        outcome = super().train(*args, **kwargs)
        if self._budget is not None:
            self.before_softening()
            self._log(self._budget.after_training(self._adapted, self.methods, self.state.global_step, self.args.seed))
        return outcome

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in, the budget included.

        Returns:
            Values by name.
        """
        return super().facts() | ({} if self._budget is None else self._budget.facts())

    def before_softening(self) -> None:
        """Do something with the trained adapter before a budget softens it; by default nothing."""

    def around_step(self, step: Step, model: nn.Module, inputs: dict[str, Any], tokens: Tensor | int | None) -> Tensor:
        """Run one micro-batch, after the budget was looked at if it is the step's first.

        Args:
            step: The Trainer's own.
            model: The model as the Trainer wraps it.
            inputs: The micro-batch.
            tokens: Loss tokens in the whole step.

        Returns:
            The micro-batch's part of the target loss.
        """
        if self._budget is not None and self._begins_a_step:
            self._log(self._budget.before_step(self.state.global_step, self.state.max_steps, self.methods))
        return super().around_step(step, model, inputs, tokens)

    def _log(self, measured: dict[str, float]) -> None:
        if measured:
            self.log(measured)

    def save_state(self, folder: Path) -> None:
        """Keep in a checkpoint what methods and budget do not find again."""
        super().save_state(folder)
        if self._budget is not None:
            self._budget.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._budget is None:
            require_uncontrolled(Path(resume_from_checkpoint))
        else:
            self._budget.load(Path(resume_from_checkpoint), self.methods)


class MethodTrainer(MethodMixin, Trainer):
    """`transformers.Trainer` with `methods`, `sources` and a `budget`."""


def _budget(drift: float | None, rows: Text, by: str, every: int) -> Budget | None:
    if drift is not None:
        return Budget(drift, rows, by, every)
    if rows:
        raise LaloraError("budget_batches are what a budget is measured on: give budget, in nats per token")
    return None
