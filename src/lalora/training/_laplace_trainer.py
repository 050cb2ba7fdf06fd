"""The Hugging Face Trainer with a Laplace penalty."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lalora import processes
from lalora.adapter import peft_model
from lalora.fisher import Batch, Sources
from lalora.laplace import Laplace, Refitting, require_non_negative
from lalora.training import _checkpoint
from lalora.training._after_backward import AfterBackwardMixin


class LaplaceMixin(AfterBackwardMixin):
    """Adds λ·½ΔᵀΛΔ to the objective of any Trainer (paper, Eq. 12), exactly once per optimizer step.

    `class MyTrainer(LaplaceMixin, SFTTrainer)` is all that TRL needs. The reported `loss` is the target loss alone,
    in training and in evaluation. Beside it, and so in whatever `report_to` names, stand `penalty` (what is charged, in
    nats), `forecast` (½ΔᵀΛΔ, nats per source token), and the norms of the two gradients before clipping,
    `grad_norm_target` and `grad_norm_penalty`. A checkpoint holds the Laplace, and a resumed run goes on with it. With
    `model_init` each new model begins at the mean of the Laplace.
    """

    def __init__(
        self,
        *args: Any,
        laplace: Laplace,
        strength: float = 1.0,
        refit_every: int | None = None,
        refit_sources: Sources | Iterable[Batch] = (),
        refit_decay: float = 0.9,
        **kwargs: Any,
    ) -> None:
        """Build the Trainer.

        Args:
            *args: The Trainer's own.
            laplace: The Laplace fitted on this model's adapter.
            strength: λ ≥ 0; 0 is plain LoRA.
            refit_every: Optimizer steps after which the curvature is fitted again where the adapter is then, and
                averaged in; the mean stays. None for never.
            refit_sources: Source text for that, as in `lalora.fit`; read once and kept.
            refit_decay: Weight of what was known before.
            **kwargs: The Trainer's own.

        Raises:
            LaloraError: If the strength is negative or not finite, the Laplace is of another model, gradients are
                sharded, or it should be fitted again without source text.
        """
        require_non_negative("strength", strength)
        self._refitting = Refitting.of(refit_every, refit_sources, refit_decay)
        self._given = laplace
        self.laplace = laplace
        self.strength = strength
        self._norms: dict[str, Tensor] = {}
        super().__init__(*args, **kwargs)
        self.laplace.check(self._adapted)
        if not self.laplace.is_mean(self._adapted):
            warnings.warn(
                "the adapter is not where this Laplace was fitted: call laplace.restore_mean(model) first, unless the "
                "model was trained further from there",
                stacklevel=2,
            )

    @property
    def _adapted(self) -> PeftModel:
        # The one that is trained now: `model_init` makes another for each training and each trial of a search.
        return peft_model(cast("nn.Module", self.model))

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Make the model, at the mean of the Laplace, and begin with the curvature that was given.

        Args:
            trial: The Trainer's own.

        Returns:
            What `model_init` made; its adapter is set to μ, since a random A that is not the one of the fit has another
            curvature.

        Raises:
            LaloraError: If it is no model that the Laplace belongs to.
        """
        model: nn.Module = super().call_model_init(trial)
        self.laplace = self._given
        if not self.laplace.of_base:
            self.laplace.restore_mean(model)
        return model

    def after_backward(self, loss_scale: float) -> None:
        """Add λΛΔ to the gradients.

        Args:
            loss_scale: Factor that the gradients carry.
        """
        self.laplace = self._refitting.due(self.laplace, self._adapted, self.state.global_step)
        gradients = [parameter.grad for parameter in self._adapted.parameters() if parameter.grad is not None]
        of_target = nn.utils.get_total_norm(gradients) / loss_scale
        of_penalty = self.laplace.add_gradient(self._adapted, self.strength, loss_scale)
        self._norms = {"grad_norm_target": of_target, "grad_norm_penalty": of_penalty}

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in, the penalty included.

        Returns:
            Values by name.
        """
        return super().facts() | {
            "strength": self.strength,
            "refit_every": self._refitting.every,
            "refit_decay": self._refitting.decay,
            "prior": self.laplace.prior,
            "Laplace": processes.digest([*self.laplace.mean.values(), *self.laplace.curvature.tensors().values()]),
        }

    def describe_run(self) -> str:
        """Name the strength.

        Returns:
            ` with strength λ`.
        """
        return f" with strength {self.strength:g}"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the penalty, the forecast and the gradients' norms before clipping beside the target loss.

        Args:
            logs: What the Trainer logs.
            start_time: The Trainer's own.
        """
        if "loss" in logs:
            penalty = self.laplace.penalty(self._adapted, self.strength)
            logs |= {"penalty": float(penalty.detach()), "forecast": self.laplace.forecast(self._adapted)}
            logs |= {name: float(value) for name, value in self._norms.items()}
        super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Before the Trainer's own files, the last of which says that a checkpoint is complete.
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with processes.together():
            if self.args.should_save:
                _checkpoint.save(self.laplace, self._adapted, self.strength, folder)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        with processes.together():
            self.laplace = _checkpoint.load(self._given, self._adapted, self.strength, Path(resume_from_checkpoint))


class LaplaceTrainer(LaplaceMixin, Trainer):
    """`transformers.Trainer` with `laplace` and `strength`."""
