"""A Trainer hook that the Trainer lacks: after the last backward of a step, before clipping."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakMethod

import torch
from torch import Tensor, nn

from lalora import processes
from lalora.engines import ZERO, before_step, engine_of, gradients, total_norm, whole, whole_shape
from lalora.errors import TrainingDivergedError
from lalora.training._own_loop import require_hooked

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
    from transformers.trainer_utils import TrainOutput
else:
    _Trainer = object

Step = Callable[..., Tensor]
"""What `training_step` does with a model, inputs and the number of loss tokens in the whole step."""

# Settings that name a process or where it writes, not what it computes.
_OF_A_PROCESS = ("local_rank", "output_dir", "logging_dir", "run_name", "push_to_hub_token", "hub_token", "report_to")
_ROWS_LOOKED_AT = 10_000
_ENTRIES_LOOKED_AT = 1_000
_SURROUNDED = "_surrounded"
_START = "start of trained tensors"


class GradientHookMixin(_Trainer):
    """Calls `after_backward` once per optimizer step and stops a run that diverges.

    Gradients are then complete: summed over micro-batches and averaged over processes, not yet clipped. What is added
    to them there counts exactly once whatever the accumulation, the number of processes, the precision, the way the
    loss is normalised, and the number of backward passes or of `super().training_step` that a subclass makes of one
    micro-batch. Put it before a Trainer class: `class MyTrainer(GradientHookMixin, Trainer)`.
    """

    _is_in_step = False

    def __init_subclass__(cls, **settings: Any) -> None:
        """Surround a `training_step` that stands in front of this class, which may pass here often or never.

        Args:
            **settings: Of the class.
        """
        super().__init_subclass__(**settings)
        foremost: Any = cls.training_step
        if not hasattr(foremost, _SURROUNDED):
            cls.training_step = _surrounded(foremost)  # type: ignore[method-assign]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Build the Trainer.

        Args:
            *args: The Trainer's own.
            **kwargs: The Trainer's own.

        Raises:
            LaloraError: If the engine keeps gradients where nothing can be added, or the Trainer has its own loop.
        """
        require_hooked(type(self))
        super().__init__(*args, **kwargs)
        self.engine = engine_of(self.accelerator.state, cast("nn.Module", self.model))
        # The filter replaces a NaN loss by the running average, which hides a run that diverged.
        self.args.logging_nan_inf_filter = False
        self._loss_of_step = torch.zeros(())

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, once all processes go by the same.

        Args:
            *args: The Trainer's own.
            **kwargs: The Trainer's own.

        Returns:
            The Trainer's own.

        Raises:
            LaloraError: If the processes differ in anything that they must agree in.
        """
        if processes.world_size() > 1:
            with processes.on_all_ranks():
                facts = self.facts()
            processes.require_same(facts, {_START: "set the same seed in all of them before the adapter is made"})
        return super().train(*args, **kwargs)

    def facts(self) -> dict[str, object]:
        """Collect what all processes of a training have to agree in.

        Returns:
            Values by name, plain enough to compare.
        """
        settings = {name: value for name, value in vars(self.args).items() if _is_setting(name, value)}
        model = cast("nn.Module", self.model)
        trained = [(name, whole_shape(p)) for name, p in model.named_parameters() if p.requires_grad]
        start = processes.digest(whole([p for p in model.parameters() if p.requires_grad]))
        base = processes.digest(_looked_at(parameter) for parameter in model.parameters())
        weights = {"trained tensors": trained, _START: start, "base weights": base}
        return {**settings, **weights, **_rows_of(self.train_dataset)}

    def after_backward(self, loss_scale: float) -> None:
        """Change the gradients of a step, or do nothing.

        Args:
            loss_scale: Factor that the gradients carry, as under fp16 loss scaling.
        """

    def describe_run(self) -> str:
        """Say which run this is, for the message when it diverges.

        Returns:
            A few words, or nothing.
        """
        return ""

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one micro-batch, and `after_backward` if it is the step's last.

        Args:
            model: The model as the Trainer wraps it.
            inputs: The micro-batch.
            num_items_in_batch: Loss tokens in the whole step.

        Returns:
            The micro-batch's part of the target loss.

        Raises:
            TrainingDivergedError: If the loss of the step, or a gradient, is NaN or infinite.
        """
        return self._once(super().training_step, model, inputs, num_items_in_batch)

    def _once(self, step: Step, model: nn.Module, inputs: dict[str, Any], tokens: Tensor | int | None) -> Tensor:
        if self._is_in_step:
            return step(model, inputs, tokens)
        self._is_in_step = True
        try:
            return self.around_step(step, model, inputs, tokens)
        finally:
            self._is_in_step = False

    def around_step(self, step: Step, model: nn.Module, inputs: dict[str, Any], tokens: Tensor | int | None) -> Tensor:
        """Run one micro-batch by the Trainer's own `training_step`, and `after_backward` if it is the step's last.

        Args:
            step: The Trainer's own, with everything that stands in front of this class.
            model: The model as the Trainer wraps it.
            inputs: The micro-batch.
            tokens: Loss tokens in the whole step.

        Returns:
            The micro-batch's part of the target loss.

        Raises:
            TrainingDivergedError: If the loss of the step, or a gradient, is NaN or infinite.
        """
        if self.engine == ZERO:
            # Its engine steps within the last backward pass.
            before_step(cast("Any", self.optimizer).optimizer, WeakMethod(self._after_last_backward))
        loss = step(model, inputs, tokens)
        self._loss_of_step = self._loss_of_step.to(loss.device) + loss.detach()
        if self.accelerator.sync_gradients:
            self._require_finite("loss", self._loss_of_step)
            self._loss_of_step = torch.zeros(())
            if self.engine != ZERO:
                self._after_last_backward()
        return loss

    def _after_last_backward(self) -> None:
        scaler = self.accelerator.scaler
        self.after_backward(1.0 if scaler is None else float(scaler.get_scale()))
        found = gradients(cast("nn.Module", self.model).parameters())
        # Under fp16 an infinite gradient is the scaler's to see: it skips the step and lowers the scale.
        if scaler is None and found:
            self._require_finite("gradient's norm", total_norm(found))

    def _require_finite(self, what: str, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise TrainingDivergedError(
                f"training diverged: the {what} is {float(value)} at step {self.state.global_step + 1}"
                f"{self.describe_run()}; lower the learning rate or the strength"
            )


def _surrounded(step: Any) -> Any:
    @wraps(step)
    def training_step(
        self: GradientHookMixin,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        return self._once(partial(step, self), model, inputs, num_items_in_batch)

    setattr(training_step, _SURROUNDED, True)
    return training_step


setattr(GradientHookMixin.training_step, _SURROUNDED, True)


def _looked_at(parameter: nn.Parameter) -> Tensor:
    (value,) = whole([parameter])
    return value.flatten()[:: 1 + value.numel() // _ENTRIES_LOOKED_AT]


def _is_setting(name: str, value: object) -> bool:
    return name not in _OF_A_PROCESS and isinstance(value, str | int | float | bool | dict | list | tuple | None)


def _rows_of(dataset: Any) -> dict[str, object]:
    # They tell another order as well as other data; a stream cannot be asked.
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        return {}
    count = len(dataset)
    seen = hashlib.sha256()
    for place in range(0, count, 1 + count // _ROWS_LOOKED_AT):
        _add(seen, dataset[place])
    return {"number of training rows": count, "training rows": seen.hexdigest()}


def _add(seen: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            seen.update(str(key).encode(errors="replace"))
            _add(seen, value[key])
    else:
        plain = value.tolist() if isinstance(value, Tensor) else value
        seen.update(str(plain).encode(errors="replace"))
