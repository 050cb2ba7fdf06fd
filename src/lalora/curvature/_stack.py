"""Kronecker factors of one size as one tensor, so that the layers of one shape cost as many launches as one layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import Self

from lalora.curvature._factor import Factor

MOST_PADDING = 1.25
"""Factors of different ranks share a stack as long as zeros make it at most so many times as large."""
_LEFT_APART = 1 << 16
"""Bytes above which a factor on the CPU stays where it is: a launch costs less there than reading it, or a copy."""


class Stack(ABC):
    """Symmetric matrices M = RᵀR of one size d; of factors with a tail, what stands out of it."""

    @abstractmethod
    def roots_and_products(
        self, rows: Float[Tensor, "n m d"], start: Float[Tensor, "n m k"] | None
    ) -> tuple[Float[Tensor, "n m k"], Float[Tensor, "n m d"]]:
        """Compute the root coordinates H = V Rᵀ of rows V, plus those of a start; and H R, the rows times M."""


@dataclass(frozen=True)
class Together(Stack):
    """Matrices in one tensor.

    Attributes:
        roots: Rᵀ = Q diag(√(e−τ)), padded with zero columns.
    """

    roots: Float[Tensor, "n d k"]

    @classmethod
    def of(cls, factors: Sequence[Factor], scales: Sequence[float], device: torch.device, dtype: torch.dtype) -> Stack:
        """Copy factors, each times a number, straight to where they are used."""
        rank = max(factor.rank for factor in factors)
        stack = torch.zeros(len(factors), factors[0].size, rank, device=device, dtype=dtype)
        for here, factor, scale in zip(stack, factors, scales, strict=True):
            here[:, : factor.rank] = factor.vectors
            here[:, : factor.rank] *= factor.scaled(scale).roots.to(device, dtype)
        return cls(stack)

    def roots_and_products(
        self, rows: Float[Tensor, "n m d"], start: Float[Tensor, "n m k"] | None
    ) -> tuple[Float[Tensor, "n m k"], Float[Tensor, "n m d"]]:
        """Multiply all at once."""
        roots = torch.bmm(rows, self.roots) if start is None else torch.baddbmm(start, rows, self.roots)
        return roots, torch.bmm(roots, self.roots.mT)


@dataclass(frozen=True)
class Apart:
    """Matrices that are read one after the other, each once, from the memory of their factors.

    Attributes:
        vectors: Q of each.
        roots: √(e−τ) of each.
    """

    vectors: tuple[Float[Tensor, "d _"], ...]
    roots: tuple[Float[Tensor, " _"], ...]

    @classmethod
    def of(cls, factors: Sequence[Factor], scales: Sequence[float], dtype: torch.dtype) -> Self:
        """Point to factors, each times a number."""
        vectors = tuple(factor.vectors.to(dtype) for factor in factors)
        pairs = zip(factors, scales, strict=True)
        return cls(vectors, tuple(factor.scaled(scale).roots.to(dtype) for factor, scale in pairs))

    def roots_and_products(
        self, rows: Sequence[Float[Tensor, "m d"]], start: Float[Tensor, "n m k"] | None
    ) -> tuple[Float[Tensor, "n m k"], Float[Tensor, "n m d"]]:
        """Multiply by each factor twice while it is in the cache."""
        rank = max(len(root) for root in self.roots)
        coordinates, products = [], rows[0].new_empty(len(rows), *rows[0].shape)
        for number, (vectors, root) in enumerate(zip(self.vectors, self.roots, strict=True)):
            found = (rows[number] @ vectors) * root
            if start is not None:
                found = found + start[number, :, : len(root)]
            torch.mm(found * root, vectors.T, out=products[number])
            coordinates.append(pad(found, (0, rank - len(root))))
        return torch.stack(coordinates), products


@dataclass(frozen=True)
class Identity(Stack):
    """Multiples of the identity.

    Attributes:
        roots: The root of each number.
    """

    roots: Float[Tensor, "n 1 1"]

    def roots_and_products(
        self, rows: Float[Tensor, "n m d"], start: Float[Tensor, "n m d"] | None
    ) -> tuple[Float[Tensor, "n m d"], Float[Tensor, "n m d"]]:
        """Multiply by the numbers."""
        roots = rows * self.roots
        roots = roots if start is None else roots + start
        return roots, roots * self.roots


def apart(factor: Factor, device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether a factor is better left where it is."""
    return device.type == "cpu" and factor.vectors.numel() * dtype.itemsize > _LEFT_APART


def cut(ranks: Sequence[int]) -> list[int]:
    """Cut ranks, largest first, where padding to the first of a part would exceed `MOST_PADDING`; return the sizes."""
    sizes: list[int] = []
    largest = held = 0
    for rank in ranks:
        if sizes and largest * (sizes[-1] + 1) <= MOST_PADDING * (held + rank):
            sizes[-1] += 1
            held += rank
        else:
            sizes.append(1)
            largest = held = rank
    return sizes
