"""`lalora.LaplaceCallback`: the penalty in a Trainer that one cannot, or need not, make a subclass of."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lalora.adapter import peft_model
from lalora.engines import ZERO, before_step, engine_of
from lalora.errors import LaloraError
from lalora.laplace import Laplace, require_non_negative
from lalora.training._laplace import warn_of_another_start

_FOLDER = "laplace"


class LaplaceCallback(TrainerCallback):
    """Adds the gradient of the penalty, λΛΔ, in any Hugging Face Trainer: `callbacks=[LaplaceCallback(laplace, 30.0)]`.

    It acts after clipping, so that `max_grad_norm` bounds the target's gradient alone; `LaplaceMixin` acts before, and
    also logs the penalty. Without clipping both train the same adapter. A checkpoint holds the Laplace, and a resumed
    run goes on with that one.
    """

    def __init__(self, laplace: Laplace, strength: float | None = None, resumed_from: str | Path | None = None) -> None:
        """Take the Laplace.

        Args:
            laplace: Fitted on the adapter that is trained, at its start, or on its base model.
            strength: λ ≥ 0; 0 is plain LoRA. By default what was measured for the curvature.
            resumed_from: The checkpoint that the Trainer resumes from, where it lies outside of its `output_dir`.

        Raises:
            LaloraError: If the strength is negative or not finite.
        """
        strength = laplace.strength if strength is None else strength
        require_non_negative("strength", strength)
        self.laplace, self.strength = laplace, strength
        self._resumed_from = None if resumed_from is None else Path(resumed_from) / _FOLDER

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse a model that the Laplace does not belong to, or go on with that of a checkpoint."""
        engine = engine_of(AcceleratorState(), kwargs["model"])
        if args.fp16 and not args.max_grad_norm:
            raise LaloraError("under fp16 gradients are scaled until they are clipped: give a max_grad_norm")
        model = peft_model(kwargs["model"])
        if state.global_step:
            kept = self._resumed_from or _kept(args, state)
            if not (kept / "laplace.json").is_file():
                raise LaloraError(
                    f"{kept.parent} holds no Laplace to go on with: give LaplaceCallback resumed_from=, the checkpoint"
                )
            self.laplace = Laplace.load(kept)
        self.laplace.check(model)
        if not state.global_step:
            warn_of_another_start(self.laplace, model)
        self._model = weakref.ref(model)
        self._within_backward = engine == ZERO
        if self._within_backward:
            # Its engine has taken the step before the Trainer comes to the events of one.
            before_step(kwargs["optimizer"].optimizer, weakref.WeakMethod(self._add))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the gradient."""
        if not self._within_backward:
            self._add()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the Laplace in the checkpoint."""
        if state.is_world_process_zero:
            self.laplace.of_adapter(peft_model(kwargs["model"])).save(_kept(args, state))

    def _add(self) -> None:
        model = self._model()
        assert model is not None
        self.laplace.add_gradient(model, self.strength)


def _kept(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / _FOLDER
