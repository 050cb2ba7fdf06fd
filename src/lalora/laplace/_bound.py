"""The tensors of a Laplace bound to the tensors of one model."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import adapter_tensors
from lalora.curvature import Added, Curvature, Quadratic, Sum
from lalora.errors import LaloraError
from lalora.laplace._penalty import displacement


@dataclass(frozen=True)
class Bound:
    """Means, curvature and prior on the devices of a model.

    Attributes:
        model: The model, which this does not keep alive.
        first: Name of the first parameter in the model.
        device: Where it lay.
        parameters: θ of the tensors that have a penalty, by name.
        means: μ of those where it is not zero.
        curvature: Λ, which forecasts.
        penalised: Λ and the prior, which the penalty is made of.
    """

    model: weakref.ref[PeftModel]
    first: str
    device: torch.device
    parameters: dict[str, nn.Parameter]
    means: dict[str, Tensor]
    curvature: Quadratic
    penalised: Quadratic

    @classmethod
    def of(cls, model: PeftModel, mean: Mapping[str, Tensor], curvature: Curvature, prior: float) -> Bound:
        """Bring everything to where the tensors of a model lie that was checked."""
        tensors = adapter_tensors(model)
        names = (Sum.of([curvature, curvature.prior(prior, tensors)]) if prior else curvature).names
        if not names:
            return cls(weakref.ref(model), "", torch.device("cpu"), {}, {}, curvature, curvature)
        first = next(name for name, parameter in model.named_parameters() if parameter is tensors[names[0]])
        devices = {name: parameter.device for name, parameter in tensors.items()}
        wide = torch.promote_types(tensors[names[0]].dtype, torch.float32)
        means = {name: mean[name].to(devices[name], wide) for name in names if name in mean}
        parameters = {name: tensors[name] for name in names}
        here = curvature.used_at(devices, wide)
        penalised = Added((here, curvature.prior(prior, tensors).used_at(devices, wide)), (1, 1)) if prior else here
        return cls(weakref.ref(model), first, parameters[names[0]].device, parameters, means, here, penalised)

    def fits(self, model: PeftModel) -> bool:
        """Tell, cheaply enough for every step, whether the adapter is still the one that was bound, where it was."""
        if self.model() is not model or not self.parameters:
            return self.model() is model
        parameter = next(iter(self.parameters.values()))
        if parameter.device != self.device or not parameter.requires_grad:
            return False
        try:
            return model.get_parameter(self.first) is parameter
        except AttributeError:
            return False

    def require_trained(self) -> None:
        """Refuse an adapter that was loaded for inference, which no penalty can hold."""
        if not next(iter(self.parameters.values())).requires_grad:
            raise LaloraError("the adapter has no trainable tensors, so no penalty: load it with is_trainable=True")

    def delta(self) -> dict[str, Tensor]:
        """Compute Δ = θ − μ of each tensor that has a penalty, at the precision of the curvature."""
        return displacement(self.parameters, self.means)
