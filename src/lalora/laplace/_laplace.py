"""The Laplace approximation over an adapter: mean, curvature, provenance."""

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import adapter_tensors, peft_model, trainable_tensors
from lalora.curvature import FITTED, combined
from lalora.engines import differentiable, whole_named, write
from lalora.errors import LaloraError, warn
from lalora.laplace._adapter_copy import mean_and_shapes
from lalora.laplace._anchored import anchored
from lalora.laplace._bound import Bound
from lalora.laplace._limits import require_non_negative
from lalora.laplace._penalty import Penalty, add_gradient
from lalora.laplace._same_base import require_moved_base, require_same_base
from lalora.laplace._same_model import fingerprint_again, require_same_model, require_same_tensors
from lalora.laplace._saved import Saved
from lalora.laplace._size import factors_of


class Laplace(Saved):
    """What stage I produces and the penalty of stage II is made of: N(μ, Λ⁻¹) over an adapter's tensors (paper, Eq. 2).

    Attributes:
        mean: μ by tensor name, on the CPU; tensors that are zero everywhere are left out.
        shapes: Shape of every trainable tensor of the adapter.
        curvature: Λ, the Fisher information of the mean per-token source likelihood at μ.
        provenance: How it was made.
        prior: δ ≥ 0, the precision that the penalty has besides Λ: δ‖Δ‖², or δ‖ΔW‖²_F in weight space.
    """

    # Of one process and its models; a pickled copy begins without them.
    _bound: Bound | None = None
    _warned = False

    @cached_property
    def _adapters(self) -> weakref.WeakKeyDictionary[PeftModel, dict[str, Laplace]]:
        return weakref.WeakKeyDictionary()

    @property
    def of_base(self) -> bool:
        """Whether it was fitted on a bare base model, and meets an adapter later."""
        return not self.shapes

    @property
    def averaged(self) -> float:
        """The largest share of a Kronecker factor's trace of which only the mean is kept (`factor_rank`)."""
        return max((factor.averaged for factor in factors_of(self.curvature)), default=0.0)

    def anchored(self, model: nn.Module) -> Laplace:
        """Give the Laplace of a base model the start of an adapter on it, as the adapter is now.

        Penalty and forecast do this by themselves when they first meet a model, and measure from there ever after; do
        it by hand to save the result, or to measure from a point that is not yet reached by training.

        Args:
            model: A PEFT LoRA model on that base.

        Returns:
            A Laplace of this adapter; this one itself if it is of an adapter already.

        Raises:
            LaloraError: If the base model is another, or the adapter changes layers of which nothing is known.
        """
        if not self.of_base:
            self.check(model)
            return self
        bare = peft_model(model)
        curvature, provenance = anchored(self.curvature, self.provenance, bare)
        return Laplace(*mean_and_shapes(bare), curvature, provenance, self.prior)

    def moved_to(self, model: nn.Module) -> Laplace:
        """Go on with the Laplace of a base model whose weights were trained since, such as by an adapter merged in.

        The curvature stays as it was fitted, now around the weights of this model: the further they moved, the less it
        is that of the model here. Without this a base whose weights moved is warned of, or refused.

        Args:
            model: The base model as it is now; a new adapter may be on it.

        Returns:
            A Laplace of the same curvature that belongs to this model.

        Raises:
            LaloraError: If this Laplace is of an adapter, or the weights have little to do with those of the fit.
        """
        if not self.of_base:
            raise LaloraError("a Laplace of an adapter ends with it: fit one of the base model, with target_modules=")
        how = self.provenance
        found = fingerprint_again(how, model)
        require_moved_base(how.fingerprint, found, how.base_model)
        return Laplace(self.mean, self.shapes, self.curvature, replace(how, fingerprint=found), self.prior)

    def __add__(self, later: Laplace) -> Laplace:
        """Continue with two tasks: fit again after the first, and hold to that point with both curvatures.

        Laplace's own recursion: after task 1 the posterior has its mode where training ended, which is the mean of
        `later`, and the precision Λ₁ + Λ₂. The prior counts once. Two of a base model add up likewise, the later one
        fitted where the first task's adapter was merged in: `first.moved_to(merged) + later`.

        Args:
            later: Fitted after the first task on the same adapter, or on the base model with that adapter merged in.

        Returns:
            Both curvatures around the mean of `later`.

        Raises:
            LaloraError: If the two are of different models or adapters.
        """
        if self.shapes != later.shapes or self.provenance.lora != later.provenance.lora:
            raise LaloraError(
                "two Laplaces add up only if they are of one adapter: these differ in tensors or settings"
            )
        require_same_base(self.provenance.fingerprint, later.provenance.fingerprint, self.provenance.base_model)
        datasets = self.provenance.datasets + later.provenance.datasets
        tasks = self.provenance.tasks + later.provenance.tasks
        # The sum of two drifts is no mean per token, and so its forecast is not calibrated.
        provenance = replace(later.provenance, datasets=datasets, tasks=tasks)
        curvature = combined([self.curvature.rebased(later.mean), later.curvature])
        return Laplace(later.mean, later.shapes, curvature, provenance, max(self.prior, later.prior))

    def of_adapter(self, model: nn.Module) -> Laplace:
        """Look up the Laplace of a model's adapter, as it was when this one first met that adapter.

        Args:
            model: A PEFT LoRA model.

        Returns:
            What `anchored` returned then; this one itself if it is of an adapter.

        Raises:
            LaloraError: If the base model is another, or the adapter changes layers of which nothing is known.
        """
        if not self.of_base:
            return self
        bare = peft_model(model)
        met = self._adapters.setdefault(bare, {})
        adapter = bare.active_adapters[0]
        if adapter not in met:
            met[adapter] = self.anchored(bare)
        return met[adapter]

    def __getstate__(self) -> dict[str, Any]:
        """Leave models behind: they belong to one process.

        Returns:
            Everything else.
        """
        return {name: value for name, value in self.__dict__.items() if name not in ("_bound", "_adapters")}

    @property
    def strength(self) -> float:
        """λ where none is given: the largest that gave up 2 % of the learning or less where it was measured."""
        return FITTED[self.provenance.fit.curvature].strength

    def penalty(self, model: nn.Module, strength: float | None = None) -> Tensor:
        """Compute ½λ(ΔᵀΛΔ + δ‖Δ‖²), to be added to a loss once per optimizer step (paper, Eq. 12).

        Args:
            model: The PEFT model that is trained.
            strength: λ ≥ 0, in nats of target loss per nat of forecast drift on the source; by default what was
                measured for the curvature.

        Returns:
            A scalar in nats, differentiable with respect to the adapter.

        Raises:
            LaloraError: If the strength is negative or not finite, or the model is not the one that was fitted.
        """
        strength = self._weight(strength)
        bound = self._bind(model)
        if not bound.parameters:
            return torch.zeros((), device=next(model.parameters()).device)
        bound.require_trained()
        value: Tensor = Penalty.apply(
            bound.penalised, bound.means, strength, *differentiable(list(bound.parameters.values()))
        )  # type: ignore[no-untyped-call]
        return value

    @torch.no_grad()
    def forecast(self, model: nn.Module) -> float:
        """Predict KL(base ‖ model) on source text from the displacement alone: ½ΔᵀΛΔ, without the prior.

        Args:
            model: The PEFT model.

        Returns:
            Nats per token. With `labels="data"`, `combine="sum"` or `fisher="batch"` the scale is not calibrated, and
            of several tasks it is the sum; a warning says so once.
        """
        if not self.provenance.calibrated and not self._warned:
            self._warned = True
            tasks = self.provenance.tasks
            warn(
                f"this forecast is not calibrated: it adds up the drifts on the text of {tasks} tasks"
                if tasks > 1
                else "this forecast is not calibrated in nats per token: fit with labels='sampled', combine='mean' and "
                "fisher='sequence' or 'token' for that",
            )
        bound = self._bind(model)
        if not bound.parameters:
            return 0.0
        return 0.5 * float(bound.curvature.quadratic(bound.delta()))

    @torch.no_grad()
    def add_gradient(self, model: nn.Module, strength: float | None = None, loss_scale: float = 1.0) -> Tensor:
        """Add the gradient of the penalty to the `.grad` of the adapter, so that it counts exactly once.

        Call it after the last micro-batch's backward pass and before clipping.

        Args:
            model: The PEFT model that is trained.
            strength: λ ≥ 0, as in `penalty`.
            loss_scale: Factor that gradients carry at this point, as under fp16 loss scaling.

        Returns:
            The norm of the penalty's gradient, without that factor.

        Raises:
            LaloraError: If the strength is negative or not finite, or the model is not the one that was fitted.
        """
        strength = self._weight(strength)
        bound = self._bind(model)
        if strength == 0 or not bound.parameters:
            return torch.zeros(())
        bound.require_trained()
        return add_gradient(bound.penalised, bound.parameters, bound.delta(), strength, loss_scale)

    def check(self, model: nn.Module) -> None:
        """Refuse a model that this Laplace does not belong to.

        Args:
            model: A PEFT model.

        Raises:
            LaloraError: If tensor names, shapes, LoRA settings or the base model differ.
        """
        if self.of_base:
            self.of_adapter(model)
            return
        require_same_tensors(self.shapes, model)
        require_same_model(self.provenance, model)

    @torch.no_grad()
    def is_mean(self, model: nn.Module) -> bool:
        """Tell whether the adapter is at μ.

        Args:
            model: A PEFT model that this Laplace belongs to.

        Returns:
            Whether every trainable tensor has the value it had when the curvature was fitted, up to its dtype.
        """
        mean = self.of_adapter(model).mean
        return all(
            torch.equal(value.cpu(), mean[name].to(value.dtype)) if name in mean else not value.any()
            for name, value in whole_named(adapter_tensors(model)).items()
        )

    @torch.no_grad()
    def restore_mean(self, model: nn.Module) -> None:
        """Set the adapter to μ, the point where the curvature was fitted.

        A curvature over A and B belongs to the A it was fitted at: a new adapter starts from here.

        Args:
            model: A PEFT model that this Laplace belongs to.

        Raises:
            LaloraError: If it does not.
        """
        self.check(model)
        here = self.of_adapter(model)
        for name, parameter in trainable_tensors(model).items():
            write(parameter, here.mean[name] if name in here.mean else torch.zeros(here.shapes[name]))

    def _weight(self, strength: float | None) -> float:
        if strength is None:
            return self.strength
        require_non_negative("strength", strength)
        return strength

    def _bind(self, model: nn.Module) -> Bound:
        if self.of_base:
            return self.of_adapter(model)._bind(model)
        bare = peft_model(model)
        if self._bound is None or not self._bound.fits(bare):
            self.check(bare)
            self._bound = Bound.of(bare, self.mean, self.curvature, self.prior)
        return self._bound
