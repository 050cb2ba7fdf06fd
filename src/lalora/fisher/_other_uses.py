"""Layers that are called, and whose adapter something else reads besides: no hook at the layer sees that part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from lalora.errors import LaloraError
from lalora.fisher._autograd_check import Witness

_HALF = (torch.float16, torch.bfloat16)


class ReadBesides:
    """Compares autograd's gradient of each B with s·Σ g (Ax)ᵀ of what was seen at its layer.

    Attributes:
        parameters: B of each adapted layer, which gets a gradient in each batch.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        """Find the adapters."""
        self._into: dict[str, tuple[Tensor, float]] = {}
        weights: dict[str, nn.Parameter] = {}
        for name, layer in layers.items():
            if not isinstance(layer, LoraLayer) or not layer.active_adapters:
                continue
            adapter = layer.active_adapters[0]
            if adapter not in layer.lora_A:
                continue
            down, up = layer.lora_A[adapter], layer.lora_B[adapter]
            plain = adapter not in layer.lora_variant and not layer.merged
            if plain and isinstance(down, nn.Linear) and isinstance(up, nn.Linear):
                self._into[name] = (down.weight, float(layer.scaling[adapter]))
                weights[name] = cast("nn.Parameter", up.weight)
        self._witness = Witness(weights)
        self._called: set[str] = set()
        self._unheard: set[str] = set()
        self.parameters = list(weights.values())

    def forward_done(self, scale: float) -> None:
        """Say that gradients come without the factor of the loss."""
        self._witness.scale = scale

    def inner(self, name: str, x: Tensor) -> Tensor | None:
        """Compute s·Ax where a layer is called, since its input may be changed in place later."""
        if name not in self._into:
            return None
        down, scaling = self._into[name]
        wide = torch.promote_types(torch.promote_types(down.dtype, x.dtype), torch.float32)
        found = scaling * (x.detach().to(wide) @ down.detach().to(wide).T)
        return found.reshape(1, -1, found.shape[-1])

    def see(self, name: str, inner: Tensor | None, g: Tensor) -> None:
        """Take one call of a layer."""
        if inner is not None:
            self._called.add(name)
            self._witness.see(name, inner, g.to(inner).reshape(1, -1, g.shape[-1]))

    def require_none(self) -> None:
        """Close the batch.

        A layer that no batch ever calls is told of elsewhere.
        """
        for parameter in self.parameters:
            # In half precision a sum over many tokens may overflow where no term does.
            if parameter.grad is not None and parameter.grad.dtype in _HALF and not parameter.grad.isfinite().all():
                parameter.grad = None
        self._unheard |= self._witness.unheard()
        besides = self._unheard & self._called
        if besides:
            raise LaloraError(
                f"the forward pass uses the adapter of '{min(besides)}' in other ways than by calling that layer, "
                "which this curvature would miss: use curvature='diagonal'"
            )
