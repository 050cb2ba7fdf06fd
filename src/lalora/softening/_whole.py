"""A layer whose change has every rank, as a full fine-tuning leaves it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

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
        inside: D.
    """

    outputs: Pencil
    inputs: Pencil
    inside: Float[Tensor, "m n"]

    @classmethod
    def of(
        cls, change: Float[Tensor, "d_out d_in"], target: tuple[Factor, Factor], source: tuple[Factor, Factor]
    ) -> WholeLayer:
        """Decompose G and X of a layer, around the trained model and around the base."""
        outputs, left = pencil(target[0], source[0], change.double())
        inputs, inside = pencil(target[1], source[1], left.T)
        return cls(outputs, inputs, inside.T.float())

    def at(self, strength: float) -> WholeLayer:
        """Soften the layer: C_ij = D_ij / (1 + λγ_iξ_j)."""
        return replace(self, inside=filtered(self.inside, self.outputs.ratios, self.inputs.ratios, strength).float())

    def change(self) -> Float[Tensor, "d_out d_in"]:
        """Return to the weights: ΔW."""
        return self.inputs.columns(self.outputs.columns(self.inside).T).T

    def drift(self) -> float:
        """Predict KL(base ‖ model) on source text: ½⟨G_s, ΔW X_s ΔWᵀ⟩ of the shrunk factors, nats per token."""
        weights = torch.outer(self.outputs.ratios, self.inputs.ratios)
        return float((weights * self.inside.double().square()).sum()) / 2

    def distance(self, trained: WholeLayer) -> float:
        """Predict KL(trained ‖ model) on target text: ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩, nats per token."""
        return float((self.inside - trained.inside).double().square().sum()) / 2
