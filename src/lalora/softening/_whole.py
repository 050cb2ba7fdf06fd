"""A layer whose change has every rank, as a full fine-tuning leaves it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature import Factor
from lalora.softening._layers import pencil
from lalora.softening._low_rank import filtered
from lalora.softening._pencil import Pencil


@dataclass(frozen=True)
class WholeLayer:
    """ΔW = P·D·Qᵀ without a limit to its rank, for which the closed form needs no cut.

    Attributes:
        outputs: P and γ, of the output side.
        inputs: Q and ξ, of the input side.
        inside: D, (m, n).
    """

    outputs: Pencil
    inputs: Pencil
    inside: Tensor

    @classmethod
    def of(cls, change: Tensor, target: tuple[Factor, Factor], source: tuple[Factor, Factor]) -> Self:
        """Decompose the curvatures of a layer.

        Args:
            change: ΔW as trained, (d_out, d_in).
            target: G and X around the trained model.
            source: G and X around the base.

        Returns:
            The layer.
        """
        outputs, left = pencil(target[0], source[0], change.double())
        inputs, inside = pencil(target[1], source[1], left.T)
        return cls(outputs, inputs, inside.T.float())

    def at(self, strength: float) -> Self:
        """Soften the layer: C_ij = D_ij / (1 + λγ_iξ_j).

        Args:
            strength: λ ≥ 0.

        Returns:
            The layer with the best change.
        """
        return replace(self, inside=filtered(self.inside, self.outputs.ratios, self.inputs.ratios, strength).float())

    def change(self) -> Tensor:
        """Return to the weights.

        Returns:
            ΔW, (d_out, d_in).
        """
        return self.inputs.columns(self.outputs.columns(self.inside).T).T

    def drift(self) -> float:
        """Predict KL(base ‖ model) on source text.

        Returns:
            ½⟨G_s, ΔW X_s ΔWᵀ⟩ of the shrunk factors, nats per token.
        """
        weights = torch.outer(self.outputs.ratios, self.inputs.ratios)
        return float((weights * self.inside.double().square()).sum()) / 2

    def distance(self, trained: Self) -> float:
        """Predict KL(trained ‖ model) on target text.

        Args:
            trained: The layer as it was trained.

        Returns:
            ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩ of the shrunk factors, nats per token.
        """
        return float((self.inside - trained.inside).double().square().sum()) / 2
