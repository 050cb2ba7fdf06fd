"""Every layer of an adapter in coordinates where both of its curvatures are diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self

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
        left: (m, r).
        right: (n, r).
    """

    outputs: Pencil
    inputs: Pencil
    left: Tensor
    right: Tensor

    def at(self, strength: float) -> Self:
        """Soften the layer.

        Args:
            strength: λ ≥ 0.

        Returns:
            The layer with the best change of the same rank.
        """
        pair = softened(self.left, self.right, self.outputs.ratios, self.inputs.ratios, strength)
        return replace(self, left=pair[0], right=pair[1])

    def change(self) -> tuple[Tensor, Tensor]:
        """Return to the weights.

        Returns:
            (d_out, r) and (r, d_in), of equal norms, whose product is ΔW.
        """
        left, right = self.outputs.columns(self.left), self.inputs.columns(self.right)
        (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left), torch.linalg.qr(right)
        u, s, v = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
        return q_left @ (u * s.sqrt()), (s.sqrt()[:, None] * v) @ q_right.T

    def drift(self) -> float:
        """Predict KL(base ‖ model) on source text.

        Returns:
            ½⟨G_s, ΔW X_s ΔWᵀ⟩ of the shrunk factors, nats per token.
        """
        of_left = self.left.T @ (self.outputs.ratios[:, None] * self.left)
        of_right = self.right.T @ (self.inputs.ratios[:, None] * self.right)
        return float((of_left * of_right).sum()) / 2

    def distance(self, trained: Layer) -> float:
        """Predict KL(trained ‖ model) on target text.

        Args:
            trained: The layer as it was trained.

        Returns:
            ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩ of the shrunk factors, nats per token.
        """
        left = torch.cat([self.left, -trained.left], dim=1)
        right = torch.cat([self.right, trained.right], dim=1)
        return max(float(((left.T @ left) * (right.T @ right)).sum()) / 2, 0.0)


def decomposed(
    anchors: Mapping[str, Anchor], target: Factors, source: Factors, share: float = SHARE
) -> dict[str, Layer]:
    """Decompose both curvatures of every layer.

    Args:
        anchors: A₁, B₁ and s by layer, as trained; those whose change is not zero.
        target: X and G around the trained adapter.
        source: X and G around the base.
        share: ρ, how far every factor is shrunk.

    Returns:
        Layers by name.
    """
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


def pencil(target: Factor, source: Factor, columns: Tensor, share: float = SHARE) -> tuple[Pencil, Tensor]:
    """Decompose one side of a layer.

    Args:
        target: X or G around the trained model.
        source: The same around the base.
        columns: In float64, of which the solution is put together, (d, r).
        share: ρ, how far both are shrunk.

    Returns:
        The decomposition, and the coordinates of the columns.
    """
    of_target, of_source = Shrunk.of(target, share), Shrunk.of(source, share)
    # Where the target is indifferent, any change at all is too dear.
    least = _INDIFFERENT * (float(of_source.values.sum()) or 1.0)
    found, coordinates = Pencil.of(replace(of_target, floor=max(of_target.floor, least)), of_source, columns)
    return found.narrow(), coordinates


def _wide(tensor: Tensor | None) -> Tensor:
    assert tensor is not None  # a layer whose change is zero is left out before
    return tensor.double()
