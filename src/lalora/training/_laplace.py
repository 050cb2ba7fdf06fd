"""The Hugging Face Trainer with a Laplace penalty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from lalora.errors import warn
from lalora.fisher import Batch, Sources
from lalora.laplace import Laplace, require_non_negative, require_sources
from lalora.methods import LaLoRA
from lalora.training._methods import MethodMixin


class LaplaceMixin(MethodMixin):
    """Adds λ·½ΔᵀΛΔ to the objective of any Trainer (paper, Eq. 12), exactly once per optimizer step.

    `MethodMixin` with LaLoRA: `class MyTrainer(LaplaceMixin, SFTTrainer)` is all that TRL needs. The reported `loss` is
    the target loss alone, in training and in evaluation. Beside it, and so in whatever `report_to` names, stand
    `penalty` (in nats), `forecast` (½ΔᵀΛΔ, nats per source token), and the norms of the two gradients before clipping,
    `grad_norm_target` and `grad_norm_penalty`. A checkpoint holds the Laplace, and a resumed run goes on with it. With
    `model_init` each new model begins at the mean of the Laplace.
    """

    def __init__(
        self,
        *args: Any,
        laplace: Laplace,
        strength: float | None = None,
        refit_every: int | None = None,
        refit_sources: Sources | Iterable[Batch] = (),
        refit_decay: float = 0.9,
        **kwargs: Any,
    ) -> None:
        """Build the Trainer.

        Args:
            *args: The Trainer's own.
            laplace: The Laplace fitted on this model's adapter.
            strength: λ ≥ 0; 0 is plain LoRA. By default what was measured for the curvature.
            refit_every: Optimizer steps after which the curvature is fitted again where the adapter is then, and
                averaged in; the mean stays. None for never.
            refit_sources: Source text for that, as in `lalora.fit`; read once and kept. `sources` is another name.
            refit_decay: Weight of what was known before.
            **kwargs: The Trainer's own.

        Raises:
            LaloraError: If the strength is negative or not finite, the Laplace is of another model, gradients are
                sharded, or it should be fitted again without source text.
        """
        self._brought = laplace
        method = LaLoRA(
            "auto" if strength is None else strength, laplace=laplace, refit_every=refit_every, refit_decay=refit_decay
        )
        super().__init__(*args, methods=[method], sources=kwargs.pop("sources", refit_sources), **kwargs)
        if refit_every is not None:
            require_sources(self._sources)
        laplace.check(self._adapted)
        warn_of_another_start(laplace, self._adapted)

    @property
    def laplace(self) -> Laplace:
        """The Laplace as it is now."""
        laplace = self._lalora.laplace
        assert laplace is not None
        return laplace

    @property
    def strength(self) -> float:
        """λ."""
        return float(self._lalora.strength)

    @strength.setter
    def strength(self, strength: float) -> None:
        require_non_negative("strength", strength)
        self._lalora.strength = strength

    @property
    def _lalora(self) -> LaLoRA:
        (method,) = self.methods
        assert isinstance(method, LaLoRA)
        return method

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
        if not self._brought.of_base:
            self._brought.restore_mean(model)
        return model

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
            method = self._lalora
            norms = {"grad_norm_target": method.target_norm, "grad_norm_penalty": method.gradient_norm}
            logs |= {name: float(norm) for name, norm in norms.items() if isinstance(norm, torch.Tensor)}
        super().log(logs, start_time)


class LaplaceTrainer(LaplaceMixin, Trainer):
    """`transformers.Trainer` with `laplace` and `strength`."""


def warn_of_another_start(laplace: Laplace, model: nn.Module) -> None:
    """Warn where the adapter is not where the Laplace was fitted.

    Args:
        laplace: Of this adapter, or of its base.
        model: Whose adapter is trained.
    """
    if not laplace.is_mean(model):
        warn(
            "the adapter is not where this Laplace was fitted: call laplace.restore_mean(model) first, unless the "
            "model was trained further from there",
        )
