"""⟨s²G, dW X dWᵀ⟩ for a low-rank dW = U V of many layers, and the gradient of half of it, from inner products alone.

U and V are made of displacements and starts: columns of B as G sees them, rows of A as X sees them (`Side`). With the
forms UᵀGU and VXVᵀ, r×r blocks of each layer, q is the sum of their entrywise product. dW is never formed. At Δ = 0 one
of the two blocks of each product is zero, and so the sum exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.curvature._alike import Alike
from lalora.curvature._side import Rows, Side

ValueAndGrad = tuple[Tensor, dict[str, Tensor]]


class Penalised(ABC):
    """A penalty of some layers."""

    @abstractmethod
    def value_and_grad(self, delta: Mapping[str, Tensor]) -> ValueAndGrad:
        """Compute q, and the gradient of ½q by the names of the tensors."""


@dataclass(frozen=True)
class OneSide(Penalised):
    """dW = ΔB·A₀ or dW = B₀·ΔA.

    Attributes:
        side: The side of the one that moves.
        still: The form of the other's start.
    """

    side: Side
    still: Float[Tensor, "layers r r"]

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> ValueAndGrad:
        """Compute q, and the gradient of ½q by the names of the tensors."""
        moved = self.side.rows(delta)
        return dot(self.side.form(moved, moved), self.still), self.side.gradient([(self.still, moved)])


@dataclass(frozen=True)
class LinearChange(Penalised):
    """dW = ΔB·A₀ + B₀·ΔA.

    Attributes:
        x: The side of A.
        g: The side of B.
        a0: A₀.
        b0: B₀.
        a0_a0: The form of A₀.
        b0_b0: The form of B₀.
    """

    x: Side
    g: Side
    a0: Rows
    b0: Rows
    a0_a0: Float[Tensor, "layers r r"]
    b0_b0: Float[Tensor, "layers r r"]

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> ValueAndGrad:
        """Compute q, and the gradient of ½q by the names of the tensors."""
        da, db = self.x.rows(delta), self.g.rows(delta)
        db_db, db_b0 = self.g.form(db, db), self.g.form(db, self.b0)
        a0_da, da_da = self.x.form(self.a0, da), self.x.form(da, da)
        value = dot(db_db, self.a0_a0) + 2 * dot(db_b0, a0_da) + dot(self.b0_b0, da_da)
        grad_a = self.x.gradient([(db_b0.mT, self.a0), (self.b0_b0, da)])
        return value, grad_a | self.g.gradient([(self.a0_a0, db), (a0_da, self.b0)])


@dataclass(frozen=True)
class TrueChange(Penalised):
    """dW = BA − B₀A₀ = ΔB·A + B₀·ΔA.

    Attributes:
        x: The side of A.
        g: The side of B.
        a0: A₀; None where it is zero.
        b0: B₀; None where it is zero.
        b0_b0: The form of B₀.
    """

    x: Side
    g: Side
    a0: Rows | None
    b0: Rows | None
    b0_b0: Float[Tensor, "layers r r"] | None

    @classmethod
    def of(cls, some: Alike) -> TrueChange:
        """Keep of the starts what is asked for."""
        if some.b0 is None:
            a0 = None if some.a0 is None else some.a0.without_products
            return cls(some.x, some.g, a0, None, None)
        return cls(some.x, some.g, some.a0, some.b0, some.g.form(some.b0, some.b0))

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> ValueAndGrad:
        """Compute q, and the gradient of ½q by the names of the tensors."""
        db = self.g.rows(delta)
        db_db = self.g.form(db, db)
        if self.b0 is None or self.b0_b0 is None:
            a = self.x.rows(delta, self.a0)
            a_a = self.x.form(a, a)
            return dot(db_db, a_a), self.x.gradient([(db_db, a)]) | self.g.gradient([(a_a, db)])
        da = self.x.rows(delta)
        a = da if self.a0 is None else da + self.a0
        db_b0 = self.g.form(db, self.b0)
        a_a, a_da, da_da = self.x.form(a, a), self.x.form(a, da), self.x.form(da, da)
        value = dot(db_db, a_a) + 2 * dot(db_b0, a_da) + dot(self.b0_b0, da_da)
        grad_a = self.x.gradient([(db_db + db_b0.mT, a), (db_b0 + self.b0_b0, da)])
        return value, grad_a | self.g.gradient([(a_a, db), (a_da, self.b0)])


def dot(left: Float[Tensor, "layers r r"], right: Float[Tensor, "layers r r"]) -> Float[Tensor, ""]:
    """Sum the entrywise product."""
    return torch.dot(left.reshape(-1), right.reshape(-1))
