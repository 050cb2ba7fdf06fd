"""RegMean (Jin et al., 2023, arXiv 2212.09849) with the base as a task: both models' outputs on their own inputs."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.posthoc.base import Rival
from lalora.posthoc.held import with_adapter

OFF_DIAGONAL = 0.9
"""What entries off the diagonal of X are multiplied by (`reduce_non_diag` in the authors' code)."""
_LEAST = 1e-12


class RegMean(Rival):
    """Puts ΔW = ΔW₁X_t(X_t + λX_s)⁻¹ in the place of ΔW₁, which keeps the rank: A becomes A·X_t(X_t + λX_s)⁻¹.

    X_t and X_s are second moments of a layer's inputs in the trained model on target rows and in the base on source
    rows, a mean over tokens, entries off the diagonal times 0.9 (github.com/bloomberg/dataless-model-merging, commit
    92247ae). λ = 1 weighs both alike, as its authors do.
    """

    name = "regmean"
    label = "RegMean"
    citation = "Jin et al., 2023"
    needs = "text of both; a forward pass over both; here their weight-kfac is fitted, of which X is a part"
    knob = "λ"
    meaning = "the weight of the base"
    grid = (0.03, 0.1, 0.3, 1.0, 3.0)
    fits = ("target weight-kfac", "source weight-kfac")
    passes = "forward"

    def at(self, knob: float) -> AbstractContextManager[None]:
        """Solve for each layer."""
        target, source = self.trained.kfac("target").factors, self.trained.kfac("source").factors
        found = {}
        for name in source.layers:
            anchor = self.trained.anchors.get(name)
            if anchor is not None and anchor.a is not None and anchor.b is not None:
                own, other = (self.trained.near(side.x(name), torch.float64).dense() for side in (target, source))
                found[name] = averaged(anchor.a.to(own), own, other, knob), anchor.b
        return with_adapter(self.trained.model, found)


def averaged(
    rows: Float[Tensor, "r d"], target: Float[Tensor, "d d"], source: Float[Tensor, "d d"], strength: float
) -> Float[Tensor, "r d"]:
    """Compute A·X_t(X_t + λX_s)⁻¹; along what no row excites, A stays."""
    own, other = _apart(target), _apart(source)
    own = own + torch.eye(len(own), dtype=own.dtype, device=own.device) * (_LEAST * own.diagonal().mean())
    found: Tensor = torch.linalg.solve(own + strength * other, own @ rows.T).T
    return found


def _apart(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    return OFF_DIAGONAL * matrix + (1 - OFF_DIAGONAL) * torch.diag(matrix.diagonal())
