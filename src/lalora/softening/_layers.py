"""Every layer of an adapter in coordinates where both of its curvatures are diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.curvature import Anchor, Factor, Factors
from lalora.softening._low_rank import softened
from lalora.softening._pencil import Pencil
from lalora.softening._shrinkage import SHARE, Shrunk

_INDIFFERENT = 1e-12


@dataclass(frozen=True)
class Layer:
    """One layer's trained change ΔW₁ = P·left·rightᵀ·Qᵀ.

    Attributes:
        outputs: P and γ, of the output side.
        inputs: Q and ξ, of the input side; layers that read one input share it.
        left: Coordinates of the output side.
        right: Coordinates of the input side.
    """

    outputs: Pencil
    inputs: Pencil
    left: Float[Tensor, "m r"]
    right: Float[Tensor, "n r"]

    def at(self, strength: float) -> Layer:
        """Find the layer with the best change of the same rank at λ ≥ 0."""
        pair = softened(self.left, self.right, self.outputs.ratios, self.inputs.ratios, strength)
        return replace(self, left=pair[0], right=pair[1])

    def change(self) -> tuple[Float[Tensor, "d_out r"], Float[Tensor, "r d_in"]]:
        """Return to the weights: two factors of equal norms, whose product is ΔW."""
        left, right = self.outputs.columns(self.left), self.inputs.columns(self.right)
        (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left), torch.linalg.qr(right)
        u, s, v = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
        return q_left @ (u * s.sqrt()), (s.sqrt()[:, None] * v) @ q_right.T

    def drift(self) -> float:
        """Predict KL(base ‖ model) on source text: ½⟨G_s, ΔW X_s ΔWᵀ⟩ of the shrunk factors, nats per token."""
        of_left = self.left.T @ (self.outputs.ratios[:, None] * self.left)
        of_right = self.right.T @ (self.inputs.ratios[:, None] * self.right)
        return float((of_left * of_right).sum()) / 2

    def distance(self, trained: Layer) -> float:
        """Predict KL(trained ‖ model) on target text: ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩, nats per token."""
        left = torch.cat([self.left, -trained.left], dim=1)
        right = torch.cat([self.right, trained.right], dim=1)
        return max(float(((left.T @ left) * (right.T @ right)).sum()) / 2, 0.0)


def decomposed(
    anchors: Mapping[str, Anchor], target: Factors, source: Factors, share: float = SHARE
) -> dict[str, Layer]:
    """Decompose both curvatures of every layer whose change is not zero, with every factor shrunk by ρ."""
    shared: dict[tuple[str, str], list[str]] = {}
    for layer in anchors:
        shared.setdefault((target.keys[layer], source.keys[layer]), []).append(layer)
    found: dict[str, Layer] = {}
    for together in shared.values():
        into = [_wide(anchors[layer].a).T for layer in together]
        inputs, rights = pencil(target.x(together[0]), source.x(together[0]), torch.cat(into, dim=1), share)
        for layer, right in zip(together, torch.split(rights, [part.shape[1] for part in into], dim=1), strict=True):
            out = _wide(anchors[layer].b) * anchors[layer].scale
            outputs, left = pencil(target.g(layer), source.g(layer), out, share)
            found[layer] = Layer(outputs, inputs, left, right)
    return found


def pencil(
    target: Factor, source: Factor, columns: Float[Tensor, "d r"], share: float = SHARE
) -> tuple[Pencil, Float[Tensor, "m r"]]:
    """Decompose one side of a layer, X or G, and find the coordinates of columns in float64 there."""
    of_target, of_source = Shrunk.of(target, share), Shrunk.of(source, share)
    # Where the target is indifferent, any change at all is too dear.
    least = _INDIFFERENT * (float(of_source.values.sum()) or 1.0)
    found, coordinates = Pencil.of(replace(of_target, floor=max(of_target.floor, least)), of_source, columns)
    return found.narrow(), coordinates


def _wide(tensor: Tensor | None) -> Tensor:
    assert tensor is not None  # a layer whose change is zero is left out before
    return tensor.double()
