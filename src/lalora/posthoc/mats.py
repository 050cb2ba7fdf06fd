"""MaTS (Tam et al., 2023, arXiv 2312.04339) with the base as a task: both curvatures, without a limit to the rank."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.curvature import Factor
from lalora.posthoc.base import Rival
from lalora.posthoc.conjugate_gradients import conjugate_gradients
from lalora.posthoc.held import with_changes

ITERATIONS = 100
"""As the authors' commands have it for whole models."""
TOLERANCE = 1e-5
"""Of the residual, relative to the right side: the default of SciPy's `cg`, which the authors call."""


class Mats(Rival):
    """Minimises ½⟨G_t, (ΔW−ΔW₁)X_t(ΔW−ΔW₁)ᵀ⟩ + λ·½⟨G_s, ΔW X_s ΔWᵀ⟩ over ΔW of any rank, from ΔW₁.

    At most 100 iterations of conjugate gradients in float32, no shrinkage and no scaling of factors, as in the commands
    of github.com/r-three/mats (commit cb52c38). It is the quadratic of `lalora.soften` without its limit to the rank.
    Labels are drawn from the model, where its authors' default takes those of the data.
    """

    name = "mats"
    label = "MaTS"
    citation = "Tam et al., 2023"
    needs = "text of both; a gradient of both; 100 products of each weight with its factors; its result has full rank"
    knob = "λ"
    meaning = "the weight of the base"
    grid = (0.03, 0.1, 0.3, 1.0, 3.0)
    fits = ("target weight-kfac", "source weight-kfac")
    passes = "forward and backward"
    full_rank = True

    def at(self, knob: float) -> AbstractContextManager[None]:
        """Solve for each layer."""
        target, source = self.trained.kfac("target").factors, self.trained.kfac("source").factors
        found = dict(self.trained.changes)
        for name in found.keys() & set(source.layers):
            layer = Rotated.of(
                (self.trained.near(target.g(name)), self.trained.near(target.x(name))),
                (self.trained.near(source.g(name)), self.trained.near(source.x(name))),
            )
            found[name] = layer.solved(found[name].to(layer.weights), knob).cpu()
        return with_changes(self.trained.model, found)


@dataclass(frozen=True)
class Rotated:
    """Both curvatures of a layer in the eigenvectors of the target's, where that one is diagonal.

    Conjugate gradients go through the same iterates in every orthonormal basis; here a product costs half.

    Attributes:
        left: Eigenvectors of G_t, complete.
        right: Eigenvectors of X_t, complete.
        weights: Products of their eigenvalues.
        outputs: G_s in the basis on the left.
        inputs: X_s in the basis on the right.
    """

    left: Float[Tensor, "m m"]
    right: Float[Tensor, "n n"]
    weights: Float[Tensor, "m n"]
    outputs: Float[Tensor, "m m"]
    inputs: Float[Tensor, "n n"]

    @classmethod
    def of(cls, target: tuple[Factor, Factor], source: tuple[Factor, Factor]) -> Rotated:
        """Rotate G_s and X_s; each pair is G and X."""
        (left, g), (right, x) = (_complete(factor) for factor in target)
        rotated = [basis.T @ factor.dense() @ basis for basis, factor in zip((left, right), source, strict=True)]
        return cls(left, right, torch.outer(g, x), *rotated)

    def solved(self, change: Float[Tensor, "m n"], strength: float) -> Float[Tensor, "m n"]:
        """Find ΔW from ΔW₁."""
        start = self.left.T @ change @ self.right
        found = conjugate_gradients(
            lambda inside: self.weights * inside + strength * (self.outputs @ inside @ self.inputs),
            self.weights * start,
            start,
            ITERATIONS,
            TOLERANCE,
        )
        return self.left @ found @ self.right.T


def _complete(factor: Factor) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]:
    """Add what is orthogonal to the eigenvectors, with the eigenvalue of the tail."""
    vectors, values = factor.vectors, factor.values
    missing = factor.size - factor.rank
    if missing == 0:
        return vectors, values
    rest = torch.linalg.qr(vectors, mode="complete").Q[:, factor.rank :]
    return torch.cat([vectors, rest], dim=1), torch.cat([values, values.new_full((missing,), factor.tail)])
