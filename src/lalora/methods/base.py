"""What a way to fine-tune can change; by default, nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from peft import PeftModel
from torch import nn
from typing_extensions import Doc

from lalora.adapter import save_without_card
from lalora.fisher import Batch
from lalora.options import NonNegative, Option, check, options_of, values_of

STRENGTH = "strength"
Row = Mapping[str, Sequence[int]]
Sources = Mapping[str, Iterable[Batch]]
Strength = Annotated[
    NonNegative,
    Doc("λ: nats of target loss paid per nat of drift on the source; in L2 methods per squared distance."),
]


@dataclass(eq=False)
class Method:
    """A way to fine-tune with LoRA: a dataclass whose annotated fields are its options.

    `weight: Annotated[NonNegative, Doc("What it is.")] = 1.0` is an option with default, range and meaning, which
    recipes and editors read and `__post_init__` checks. What a method remembers besides is set there too, without an
    annotation. Each step that a method does not override does nothing.

    Attributes:
        name: Its name in recipes.
        label: Its name for readers.
        citation: Where it comes from.
        needs: What it takes besides plain LoRA, in a few words.
        knob: The setting that trades learning against forgetting.
        grid: Values of the knob to begin with.
        needs_source: Whether `prepare` needs source batches.
        quantised_base: Whether it works on a base model in 8 or 4 bits.
        engines: Of `FSDP2` and `ZERO` in `lalora.engines`, those in which it was tested: there each process holds a
            part of the adapter and of its gradients, which `whole` and `add_to_gradients` read and change.
        own_start: Whether it starts from another adapter than plain LoRA does.
        untouched_base: Whether it needs the untouched weights under the adapter: beside it none has an own start.
        turn: Its place among the methods of a run: those with a lower one act first, in `prepare` and in every step.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    citation: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    knob: ClassVar[str] = "learning_rate"
    grid: ClassVar[tuple[float, ...]] = ()
    needs_source: ClassVar[bool] = False
    quantised_base: ClassVar[bool] = True
    engines: ClassVar[tuple[str, ...]] = ()
    own_start: ClassVar[bool] = False
    untouched_base: ClassVar[bool] = False
    turn: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            LaloraError: If a value has another type or is out of range.
        """
        check(self)
        self.factor = 1.0
        """What a budget multiplies the strength with while training."""

    @property
    def strength_now(self) -> float:
        """λ as it counts now: the strength times the factor; for methods whose knob is a strength."""
        strength: float = vars(self)[STRENGTH]
        return strength * self.factor

    @classmethod
    def options(cls) -> dict[str, Option]:
        """List what can be chosen.

        Returns:
            Default, range and meaning by name.
        """
        return options_of(cls)

    @property
    def chosen(self) -> dict[str, Any]:
        """The value of every option by name."""
        return {name: value for name, value in values_of(self).items() if name in self.options()}

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Get ready, before the first step.

        Args:
            model: The PEFT model at its start.
            sources: Batches of source text by dataset.
        """

    def training_rows(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Choose what is trained on, after `prepare`.

        Args:
            rows: Target rows in the order of training.
            seed: Of whatever is drawn at random.

        Returns:
            As many rows.
        """
        return list(rows)

    def before_forward(self, model: nn.Module, step: int, steps: int) -> None:
        """Change the model before the first micro-batch of an optimizer step.

        Args:
            model: The PEFT model.
            step: Optimizer steps done so far.
            steps: Optimizer steps of the whole run.
        """

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Change the gradients of a step, complete but not yet clipped.

        Args:
            model: The PEFT model.
            step: Optimizer steps done so far.
            loss_scale: Factor that the gradients carry.
        """

    def abort_step(self, model: nn.Module) -> None:
        """Take back what belongs to a step that an error ends before `after_backward`.

        Args:
            model: The PEFT model.
        """

    def after_step(self, model: nn.Module) -> None:
        """Change the model after an optimizer step.

        Args:
            model: The PEFT model.
        """

    def after_training(self, model: PeftModel) -> None:
        """Change the finished adapter.

        Args:
            model: The PEFT model after its last step.
        """

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure what the method adds to the log.

        Args:
            model: The PEFT model.

        Returns:
            Numbers by name.
        """
        return {}

    def facts(self) -> dict[str, object]:
        """Collect what all processes of a training have to agree in.

        Returns:
            Values by name, plain enough to compare.
        """
        return self.chosen

    def save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write the finished adapter in PEFT's format, for the untouched base model.

        Args:
            model: The PEFT model.
            folder: Made where missing.
        """
        save_without_card(model, folder)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Keep in a checkpoint what `prepare` would not find again.

        Args:
            model: The PEFT model.
            folder: Of this method in the checkpoint, made by whoever writes into it.
        """

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what `save` kept, after `prepare`.

        Args:
            model: The PEFT model, the checkpoint's adapter in it.
            folder: Of this method in the checkpoint.
        """
