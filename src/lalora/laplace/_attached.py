"""The tensors of a Laplace beside the tensors of one model."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import adapter_tensors
from lalora.curvature import Curvature, with_prior
from lalora.errors import LaloraError
from lalora.laplace._penalty import displacement


@dataclass(frozen=True)
class Attached:
    """Means, curvature and prior on the devices of a model, in the order of its tensors.

    Attributes:
        model: The model, which this does not keep alive.
        first: Name of the first parameter in the model.
        device: Where it lay.
        parameters: θ of the tensors that are charged for.
        means: μ of each; None where it is zero.
        curvature: Λ, which forecasts.
        charge: Λ and the prior, which is what a penalty charges.
    """

    model: weakref.ref[PeftModel]
    first: str
    device: torch.device
    parameters: list[nn.Parameter]
    means: list[Tensor | None]
    curvature: Curvature
    charge: Curvature

    @classmethod
    def of(cls, model: PeftModel, mean: Mapping[str, Tensor], curvature: Curvature, prior: float) -> Attached:
        """Bring everything to where the model's tensors lie.

        Args:
            model: A model that was checked.
            mean: μ by tensor name.
            curvature: Λ.
            prior: δ ≥ 0.

        Returns:
            The tensors side by side.
        """
        tensors = adapter_tensors(model)
        names = with_prior(curvature, prior, tensors).names
        if not names:
            return cls(weakref.ref(model), "", torch.device("cpu"), [], [], curvature, curvature)
        first = next(name for name, parameter in model.named_parameters() if parameter is tensors[names[0]])
        devices = {name: parameter.device for name, parameter in tensors.items()}
        wide = torch.promote_types(tensors[names[0]].dtype, torch.float32)
        means = [mean[name].to(devices[name], wide) if name in mean else None for name in names]
        parameters = [tensors[name] for name in names]
        here = curvature.to(devices, wide)
        charge = with_prior(here, prior, tensors)
        return cls(weakref.ref(model), first, parameters[0].device, parameters, means, here, charge)

    def fits(self, model: PeftModel) -> bool:
        """Tell whether these are still the tensors that the model trains, cheaply: this is asked at every step.

        Args:
            model: The model.

        Returns:
            Whether its adapter was not replaced, switched, frozen or moved since.
        """
        if self.model() is not model or not self.parameters:
            return self.model() is model
        parameter = self.parameters[0]
        if parameter.device != self.device or not parameter.requires_grad:
            return False
        try:
            return model.get_parameter(self.first) is parameter
        except AttributeError:
            return False

    def require_trained(self) -> None:
        """Refuse an adapter that is not trained, which no penalty can hold.

        Raises:
            LaloraError: If it was loaded for inference.
        """
        if not self.parameters[0].requires_grad:
            raise LaloraError("the adapter has no trainable tensors, so no penalty: load it with is_trainable=True")

    def delta(self) -> dict[str, Tensor]:
        """Compute Δ = θ − μ.

        Returns:
            Δ of each tensor that is charged for, at the precision of the curvature.
        """
        return dict(zip(self.charge.names, displacement(self.parameters, self.means), strict=True))
