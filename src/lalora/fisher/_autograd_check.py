"""What autograd finds of a weight, beside what was seen at its module: they differ where a forward reads the weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Witness:
    """Compares, batch by batch, the gradients of weights with those put together from inputs and output gradients.

    A forward that reads `lora_A.weight` without calling `lora_A`, as fused kernels do, shows nothing at the module.

    Attributes:
        weights: What is compared, by name.
        reached: Names of the weights that any batch has reached.
        scale: Factor of the loss, and so of the gradients that autograd leaves; those that are seen are without it.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        """Name the weights."""
        self.weights = dict(weights)
        self.reached: set[str] = set()
        self.scale = 1.0
        self._seen: dict[str, Tensor] = {}
        self._squares: dict[str, Tensor] = {}

    def see(self, name: str, a: Float[Tensor, "rows length d_in"], g: Float[Tensor, "rows length d_out"]) -> None:
        """Take one call of a module."""
        # Compared as they come from autograd: squares of gradients divided by the scale may all be zero.
        a, g = a.flatten(0, 1), g.flatten(0, 1) * self.scale
        gradient, square = g.T @ a, (g.square().sum(-1) * a.square().sum(-1)).sum()
        known = name in self._seen
        self._seen[name] = self._seen[name] + gradient if known else gradient
        self._squares[name] = self._squares[name] + square if known else square

    def unheard(self) -> set[str]:
        """Close the batch; name the weights of which the modules did not show everything."""
        names: list[str] = []
        apart: list[Tensor] = []
        allowed: list[Tensor] = []
        for name, weight in self.weights.items():
            found, weight.grad = weight.grad, None
            if found is None:
                continue
            self.reached.add(name)
            wide = found.to(torch.promote_types(found.dtype, torch.float32))
            size = torch.linalg.vector_norm(wide)
            if name in self._seen:
                # Terms may cancel in the sum: what is left of them is as good as they were.
                size = torch.maximum(size, self._squares[name].sqrt().to(size))
                wide = wide - self._seen[name].to(wide)
            names.append(name)
            apart.append(torch.linalg.vector_norm(wide))
            allowed.append(size * torch.finfo(found.dtype).eps ** 0.5)
        self._seen.clear()
        self._squares.clear()
        if not names:
            return set()
        place = apart[0].device
        # A difference that is not a number is one.
        alike = torch.stack([a.to(place) for a in apart]) <= torch.stack([a.to(place) for a in allowed])
        return {name for name, same in zip(names, alike.tolist(), strict=True) if not same}
