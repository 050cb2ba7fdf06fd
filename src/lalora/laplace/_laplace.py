"""The Laplace approximation over an adapter: mean, curvature, provenance."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import adapter_tensors, peft_model, trainable_tensors
from lalora.curvature import CURVATURES, Curvature, added, grouped, mean_eigenvalue, require_names
from lalora.errors import LaloraError, one_line
from lalora.laplace import _hub, _storage
from lalora.laplace._attached import Attached
from lalora.laplace._beside import beside
from lalora.laplace._consistent import require_consistent
from lalora.laplace._fingerprint import require_same_base
from lalora.laplace._limits import require_non_negative, require_prior
from lalora.laplace._penalty import Penalty
from lalora.laplace._provenance import Provenance, require_same_model


class Laplace:
    """What stage I produces and stage II charges with: N(μ, Λ⁻¹) over an adapter's tensors (paper, Eq. 2).

    Attributes:
        mean: μ by tensor name, on the CPU; tensors that are zero everywhere are left out.
        shapes: Shape of every trainable tensor of the adapter.
        curvature: Λ, the Fisher information of the mean per-token source likelihood at μ.
        provenance: How it was made.
        prior: δ ≥ 0, the precision that is charged for besides Λ: δ‖Δ‖², or δ‖ΔW‖²_F in weight space.
    """

    def __init__(
        self,
        mean: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        curvature: Curvature,
        provenance: Provenance,
        prior: float | str = 0.0,
    ) -> None:
        """Put the parts together; `lalora.fit` and `Laplace.load` are the usual ways to get one.

        Args:
            mean: μ by tensor name.
            shapes: Shape of every trainable tensor.
            curvature: Λ.
            provenance: How it was made.
            prior: δ ≥ 0, or `auto` for the mean eigenvalue of Λ.

        Raises:
            LaloraError: If the prior is negative or not finite, or an unknown word.
        """
        require_prior(prior)
        self.mean = dict(mean)
        self.shapes = dict(shapes)
        self.curvature = curvature
        self.provenance = provenance
        self.prior = mean_eigenvalue(curvature) if isinstance(prior, str) else prior
        self._attached: Attached | None = None
        self._adapters: weakref.WeakKeyDictionary[PeftModel, dict[str, Laplace]] = weakref.WeakKeyDictionary()
        self._warned = False

    @property
    def of_base(self) -> bool:
        """Whether it was fitted on a bare base model, and meets an adapter later."""
        return not self.shapes

    @property
    def discarded(self) -> float:
        """The largest share of a Kronecker factor's trace that `rank` or `keep` left out."""
        shares = [float(tensor) for name, tensor in self.curvature.tensors().items() if name.endswith("/discarded")]
        return max(shares, default=0.0)

    def attach(self, model: nn.Module) -> Laplace:
        """Put the Laplace of a base model beside an adapter on it, as the adapter is now.

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
        curvature, provenance = beside(self.curvature, self.provenance, bare)
        return Laplace(*mean_and_shapes(bare), curvature, provenance, self.prior)

    def __add__(self, later: Laplace) -> Laplace:
        """Continue with two tasks: fit again after the first, and charge for leaving that point with both curvatures.

        Laplace's own recursion: after task 1 the posterior has its mode where training ended, which is the mean of
        `later`, and the precision Λ₁ + Λ₂. The prior counts once.

        Args:
            later: Fitted on the same adapter after the first task.

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
        # The sum of two drifts is no mean per token, and so its forecast is not calibrated.
        datasets = self.provenance.datasets + later.provenance.datasets
        provenance = replace(later.provenance, datasets=datasets, combine="tasks")
        curvature = added(self.curvature, later.curvature)
        return Laplace(later.mean, later.shapes, curvature, provenance, max(self.prior, later.prior))

    def at(self, model: nn.Module) -> Laplace:
        """Look up the Laplace of a model's adapter, as it was when this one first met that adapter.

        Args:
            model: A PEFT LoRA model.

        Returns:
            What `attach` returned then; this one itself if it is of an adapter.

        Raises:
            LaloraError: If the base model is another, or the adapter changes layers of which nothing is known.
        """
        if not self.of_base:
            return self
        bare = peft_model(model)
        met = self._adapters.setdefault(bare, {})
        adapter = bare.active_adapters[0]
        if adapter not in met:
            met[adapter] = self.attach(bare)
        return met[adapter]

    def __getstate__(self) -> dict[str, Any]:
        """Leave models behind: they belong to one process.

        Returns:
            Everything else.
        """
        return {name: value for name, value in self.__dict__.items() if name not in ("_attached", "_adapters")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Know no model yet.

        Args:
            state: What `__getstate__` returned.
        """
        self.__dict__.update(state, _attached=None, _adapters=weakref.WeakKeyDictionary())

    def penalty(self, model: nn.Module, strength: float = 1.0) -> Tensor:
        """Compute ½λ(ΔᵀΛΔ + δ‖Δ‖²), to be added to a loss once per optimizer step (paper, Eq. 12).

        Args:
            model: The PEFT model that is trained.
            strength: λ ≥ 0, in nats of target loss per nat of forecast drift on the source.

        Returns:
            A scalar in nats, differentiable with respect to the adapter.

        Raises:
            LaloraError: If the strength is negative or not finite, or the model is not the one that was fitted.
        """
        require_non_negative("strength", strength)
        attached = self._attach(model)
        if not attached.parameters:
            return torch.zeros((), device=next(model.parameters()).device)
        attached.require_trained()
        value: Tensor = Penalty.apply(attached.charge, attached.means, strength, *attached.parameters)  # type: ignore[no-untyped-call]
        return value

    @torch.no_grad()
    def forecast(self, model: nn.Module) -> float:
        """Predict KL(base ‖ model) on source text from the displacement alone: ½ΔᵀΛΔ, without the prior.

        Args:
            model: The PEFT model.

        Returns:
            Nats per token. With `labels="data"`, `combine="sum"` or `fisher="batch"` the scale is not calibrated,
            which a warning says once.
        """
        if not self.provenance.calibrated and not self._warned:
            self._warned = True
            warnings.warn(
                "this forecast is not calibrated in nats per token: fit with labels='sampled', combine='mean' and "
                "fisher='sequence' or 'token' for that",
                stacklevel=2,
            )
        attached = self._attach(model)
        if not attached.parameters:
            return 0.0
        return 0.5 * float(attached.curvature.quadratic(attached.delta()))

    @torch.no_grad()
    def add_gradient(self, model: nn.Module, strength: float, loss_scale: float = 1.0) -> Tensor:
        """Add the gradient of the penalty to the `.grad` of the adapter, so that it counts exactly once.

        Call it after the last micro-batch's backward pass and before clipping.

        Args:
            model: The PEFT model that is trained.
            strength: λ ≥ 0.
            loss_scale: Factor that gradients carry at this point, as under fp16 loss scaling.

        Returns:
            The norm of the penalty's gradient, without that factor.

        Raises:
            LaloraError: If the strength is negative or not finite, or the model is not the one that was fitted.
        """
        require_non_negative("strength", strength)
        attached = self._attach(model)
        if strength == 0 or not attached.parameters:
            return torch.zeros(())
        attached.require_trained()
        _, product = attached.charge.half_quadratic_and_gradient(attached.delta())
        for parameter in attached.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in attached.parameters if parameter.grad is not None]
        cast = [product[name].to(grad.dtype) for name, grad in zip(attached.charge.names, gradients, strict=True)]
        torch._foreach_add_(gradients, cast, alpha=strength * loss_scale)
        return nn.utils.get_total_norm(list(product.values())) * strength

    def check(self, model: nn.Module) -> None:
        """Refuse a model that this Laplace does not belong to.

        Args:
            model: A PEFT model.

        Raises:
            LaloraError: If tensor names, shapes, LoRA settings or the base model differ.
        """
        if self.of_base:
            self.at(model)
            return
        found = {name: tuple(parameter.shape) for name, parameter in adapter_tensors(model).items()}
        for name, shape in self.shapes.items():
            if name not in found:
                raise LaloraError(
                    f"the adapter here has no trainable tensor '{name}', which this Laplace was fitted on"
                )
            if found[name] != shape:
                raise LaloraError(f"tensor '{name}' has shape {found[name]} here and {shape} in this Laplace")
        extra = sorted(set(found) - set(self.shapes))
        if extra:
            raise LaloraError(f"the adapter here has a trainable tensor '{extra[0]}', which this Laplace never saw")
        require_same_model(self.provenance, model)

    @torch.no_grad()
    def is_mean(self, model: nn.Module) -> bool:
        """Tell whether the adapter is at μ.

        Args:
            model: A PEFT model that this Laplace belongs to.

        Returns:
            Whether every trainable tensor has the value it had when the curvature was fitted, up to its dtype.
        """
        mean = self.at(model).mean
        return all(
            torch.equal(parameter.cpu(), mean[name].to(parameter.dtype)) if name in mean else not parameter.any()
            for name, parameter in adapter_tensors(model).items()
        )

    @torch.no_grad()
    def restore_mean(self, model: nn.Module) -> None:
        """Set the adapter to μ, the point where the curvature was fitted.

        A curvature over A and B speaks of the A it was fitted at: a new adapter starts from here.

        Args:
            model: A PEFT model that this Laplace belongs to.

        Raises:
            LaloraError: If it does not.
        """
        self.check(model)
        mean = self.at(model).mean
        for name, parameter in trainable_tensors(model).items():
            parameter.copy_(mean[name]) if name in mean else parameter.zero_()

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder with `laplace.json` and `laplace-<hash>.safetensors`.

        Args:
            folder: Made where missing.
            dtype: Type of eigenvectors and diagonals in the file, such as `torch.bfloat16`, which halves it; None for
                the one they have. Eigenvalues and the adapter's start are kept as they are.

        Raises:
            LaloraError: If it cannot be written, or the dtype is none.
        """
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise LaloraError(f"dtype must be a floating-point type such as torch.bfloat16, not {dtype!r}")
        tensors = {f"mean/{name}": tensor for name, tensor in self.mean.items()}
        for name, tensor in self.curvature.tensors().items():
            narrow = dtype is not None and tensor.dim() > 1 and "anchors/" not in name
            tensors[f"{self.curvature.kind}/{name}"] = tensor.to(dtype) if narrow else tensor
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        _storage.write(
            Path(folder),
            tensors,
            {
                "shapes": shapes,
                "kind": self.curvature.kind,
                "prior": self.prior,
                "provenance": self.provenance.as_json(),
            },
        )

    @classmethod
    def load(cls, folder: str | Path, prior: float | str | None = None) -> Laplace:
        """Read what `save` wrote.

        Args:
            folder: The folder.
            prior: Precision δ to charge for instead of the one in the file, a number ≥ 0 or `auto`.

        Returns:
            The Laplace; it checks a model when it first meets it.

        Raises:
            LaloraError: If a file is missing, truncated, altered, of a newer format, or holds another curvature, or
                the prior is out of range.
        """
        tensors, description = _storage.read(Path(folder))
        kind = description["kind"]
        if kind not in CURVATURES:
            raise LaloraError(
                f"'{folder}' holds a curvature of kind '{kind}', which this lalora does not know: upgrade it"
            )
        provenance = Provenance.from_json(description["provenance"])
        shapes = {name: tuple(shape) for name, shape in description["shapes"].items()}
        try:
            parts = grouped(tensors)
            require_names(parts, (), ("mean", kind))
            mean = parts.get("mean", {})
            curvature = CURVATURES[kind].from_tensors(parts.get(kind, {}))
            require_consistent(mean, shapes, curvature, provenance)
        except LaloraError as error:
            raise LaloraError(
                f"'{Path(folder) / description['tensors']}' is no curvature: {one_line(error)}"
            ) from error
        return cls(mean, shapes, curvature, provenance, float(description["prior"]) if prior is None else prior)

    def push_to_hub(
        self, repo_id: str, licence: str = "other", *, dtype: torch.dtype | None = None, **options: Any
    ) -> str:
        """Upload the two files and a model card to the Hugging Face hub.

        Args:
            repo_id: `user/name`.
            licence: The hub's name of the licence, which should fit that of the base model and the source data.
            dtype: As in `save`.
            **options: Passed to `huggingface_hub.HfApi.create_repo`, such as `private=True` or `token=…`.

        Returns:
            Address of the commit.

        Raises:
            LaloraError: If the hub cannot be reached or refuses.
        """
        return _hub.push(partial(self.save, dtype=dtype), self.provenance, repo_id, licence, **options)

    @classmethod
    def from_hub(cls, repo_id: str, **options: Any) -> Laplace:
        """Download a Laplace from the Hugging Face hub.

        Args:
            repo_id: `user/name`.
            **options: Passed to `huggingface_hub.snapshot_download`, such as `revision=…` or `token=…`.

        Returns:
            The Laplace.

        Raises:
            LaloraError: If the hub cannot be reached, or the files are not a Laplace.
        """
        return cls.load(_hub.pull(repo_id, **options))

    def _attach(self, model: nn.Module) -> Attached:
        if self.of_base:
            return self.at(model)._attach(model)
        bare = peft_model(model)
        if self._attached is None or not self._attached.fits(bare):
            self.check(bare)
            self._attached = Attached.of(bare, self.mean, self.curvature, self.prior)
        return self._attached


def mean_and_shapes(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """Copy the adapter as it is now.

    Args:
        model: A PEFT LoRA model.

    Returns:
        Its trainable tensors by name, without those that are zero everywhere; the shape of each of them.
    """
    tensors = {name: parameter.detach().cpu().clone() for name, parameter in adapter_tensors(model).items()}
    mean = {name: tensor for name, tensor in tensors.items() if bool(tensor.any())}
    return mean, {name: tuple(tensor.shape) for name, tensor in tensors.items()}
