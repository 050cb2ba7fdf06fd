"""What a way to fine-tune can change; by default, nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from peft import PeftModel
from torch import nn

from lalora.fisher import Batch

Row = Mapping[str, Sequence[int]]


class Method:
    """A way to fine-tune with LoRA. Each step that a method does not override does nothing.

    Attributes:
        name: Its name in recipes.
        label: Its name for readers.
        citation: Where it comes from.
        needs_source: Whether `prepare` needs proxy batches.
        needs: What it takes besides plain LoRA, in a few words.
        quantised_base: Whether it works on a base model in 8 or 4 bits.
        own_start: Whether it starts from another adapter than plain LoRA does.
        knob: The setting that trades learning against forgetting.
        grid: Values of the knob to begin with.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    citation: ClassVar[str]
    needs_source: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    quantised_base: ClassVar[bool] = True
    own_start: ClassVar[bool] = False
    knob: ClassVar[str]
    grid: ClassVar[tuple[float, ...]]

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Get ready, before the first step.

        Args:
            model: The PEFT model at its start.
            proxies: Batches of surrogate source text by dataset.
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

    def begin_step(self, model: nn.Module, step: int) -> None:
        """Look at the model before an optimizer step, once gradients are complete.

        Args:
            model: The PEFT model.
            step: Optimizer steps done so far.
        """

    def after_backward(self, model: nn.Module, loss_scale: float) -> None:
        """Change the gradients of a step, complete but not yet clipped.

        Args:
            model: The PEFT model.
            loss_scale: Factor that the gradients carry.
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

    def save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write the finished adapter in PEFT's format, for the untouched base model.

        Args:
            model: The PEFT model.
            folder: Made where missing.
        """
        model.save_pretrained(str(folder))

    def save(self, checkpoint: Path) -> None:
        """Keep what changed since `prepare` beside a checkpoint.

        Args:
            checkpoint: Its folder.
        """

    def load(self, checkpoint: Path) -> None:
        """Read what `save` kept.

        Args:
            checkpoint: Its folder.
        """
