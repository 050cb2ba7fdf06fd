"""A symmetric positive semi-definite matrix as eigenvectors and eigenvalues, never built where it is large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._checks import require_names, require_not_negative, require_number, require_orthonormal
from lalora.curvature._eigen import decomposed, largest
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Factor:
    """Q diag(e) Qᵀ + τ(I − QQᵀ), d×d with k ≤ d eigenvectors; all work with it costs O(d·k).

    Truncation keeps of the smaller eigenvalues their mean τ, and so the trace: a change of the weights meets them all a
    little, and of flat spectra, as those of MLPs are, most of what it costs is in them.

    Attributes:
        vectors: Q, (d, k), orthonormal columns.
        values: e > 0, (k,), largest first.
        tail: τ, from 0 to the least of e.
    """

    vectors: Float[Tensor, "d k"]
    values: Float[Tensor, " k"]
    tail: float = 0.0

    @classmethod
    def of_matrix(cls, matrix: Float[Tensor, "d d"], rank: int | None = None, keep: float | None = None) -> Self:
        """Decompose a dense matrix; eigenvalues that are zero to rounding are left out."""
        # A dense matrix was accumulated in its own type: to decompose it in a wider one would take twice as long, and
        # make its small eigenvalues no more exact.
        own = torch.promote_types(matrix.dtype, torch.float32)
        wide = _near(matrix).to(own)
        part = largest(wide, rank) if rank is not None and rank > 0 and keep is None else None
        values, vectors, shown = part or decomposed(wide, torch.finfo(matrix.dtype).eps * matrix.shape[0])
        found = cls(*_like(matrix, vectors[:, shown], values[shown]))
        if part is None:
            return found.truncated(rank, keep)
        return found.lifted(float(wide.diagonal().sum() - values.sum())) if bool(shown.all()) else found

    @classmethod
    def of_rows(
        cls, rows: Float[Tensor, "n d"], scale: float = 1.0, rank: int | None = None, keep: float | None = None
    ) -> Self:
        """Decompose scale·rowsᵀrows, through the n×n inner products where there are fewer rows than columns."""
        wide = _wide(rows)
        count, size = wide.shape
        tolerance = torch.finfo(wide.dtype).eps * max(count, size)
        if count >= size:
            values, vectors, shown = decomposed(wide.T @ wide, tolerance)
            return cls(*_like(rows, vectors[:, shown], values[shown] * scale)).truncated(rank, keep)
        # Σ e qqᵀ = rowsᵀ(Σ uuᵀ)rows, so the factor is as exact as the u are orthonormal.
        values, inner, shown = decomposed(wide @ wide.T, tolerance)
        values, inner = values[shown], inner[:, shown]
        count = _count(values, float(values.sum()), rank, keep)
        vectors = (wide.T @ inner[:, :count]) / values[:count].sqrt()
        found = cls(*_like(rows, vectors, values[:count] * scale))
        return found.lifted(float(values[count:].sum()) * scale) if count < len(values) else found

    @classmethod
    def combined(cls, parts: Sequence[Self], weights: Sequence[float] | None = None) -> Self:
        """Add the factors, each times its weight."""
        factors = [1.0] * len(parts) if weights is None else weights
        weighted = [part.scaled(weight) for part, weight in zip(parts, factors, strict=True)]
        wide = [
            part.to(part.vectors.device, torch.promote_types(part.vectors.dtype, torch.float32)) for part in weighted
        ]
        # What stands out of the tails has low rank, and the tails add up to a multiple of the identity.
        standing = cls.of_rows(torch.cat([part.vectors * part.roots for part in wide], dim=1).T)
        tail = sum(part.tail for part in weighted)
        return replace(standing, values=standing.values + tail, tail=tail if standing.rank < standing.size else 0.0)

    def lifted(self, trace: float) -> Self:
        """Add a trace of which only the amount is known, in equal parts to all directions without an eigenvector."""
        count, rest = self.rank, max(trace, 0.0) + self.tail * (self.size - self.rank)
        values = self.values.double().cpu()
        while count < self.size and (above := int((values[:count] > rest / (self.size - count)).sum())) < count > 1:
            # What does not stand out of the mean of the rest is part of the rest.
            count, rest = max(above, 1), rest + float(values[max(above, 1) : count].sum())
        if count == self.size:
            return self
        tail = rest / (self.size - count)
        return replace(self, vectors=self.vectors[:, :count], values=self.values[:count].clamp_min(tail), tail=tail)

    @property
    def size(self) -> int:
        """The size d of the matrix."""
        return self.vectors.shape[0]

    @property
    def rank(self) -> int:
        """The number k of eigenvectors."""
        return self.vectors.shape[1]

    @property
    def trace(self) -> Float[Tensor, ""]:
        """Sum of all eigenvalues."""
        return self.values.sum() + self.tail * (self.size - self.rank)

    @property
    def averaged(self) -> float:
        """Share of the trace of which only the mean is known."""
        return self.tail * (self.size - self.rank) / float(self.trace) if self.tail else 0.0

    @property
    def root_size(self) -> int:
        """The number of root coordinates: k, and d more where there is a tail."""
        return self.rank + (self.size if self.tail else 0)

    @cached_property
    def roots(self) -> Float[Tensor, " k"]:
        """√(e−τ), of what stands out of the tail."""
        return (self.values - self.tail).clamp_min(0).sqrt()

    def to_root(self, columns: Float[Tensor, "{self.size} m"]) -> Float[Tensor, "{self.root_size} m"]:
        """Compute the root coordinates H = [diag(√(e−τ)) Qᵀ V; √τ V] of columns V: HᵀH is VᵀMV for this matrix M."""
        standing = self.roots[:, None] * (self.vectors.T @ columns)
        return torch.cat([standing, columns * math.sqrt(self.tail)]) if self.tail else standing

    def from_root(self, coordinates: Float[Tensor, "{self.root_size} m"]) -> Float[Tensor, "{self.size} m"]:
        """Apply the transpose of `to_root`: `from_root(to_root(V))` is MV."""
        found = self.vectors @ (self.roots[:, None] * coordinates[: self.rank])
        return found.add_(coordinates[self.rank :], alpha=math.sqrt(self.tail)) if self.tail else found

    def times(self, columns: Float[Tensor, "{self.size} m"]) -> Float[Tensor, "{self.size} m"]:
        """Multiply the matrix by columns V."""
        return self.from_root(self.to_root(columns))

    def inner(self, columns: Float[Tensor, "{self.size} m"]) -> Float[Tensor, "m m"]:
        """Compute the quadratic form VᵀMV."""
        root = self.to_root(columns)
        return root.T @ root

    def dense(self) -> Float[Tensor, "{self.size} {self.size}"]:
        """Build the d×d matrix, for tests and small sizes."""
        standing = (self.vectors * (self.values - self.tail)) @ self.vectors.T
        return standing + self.tail * torch.eye(self.size, dtype=standing.dtype, device=standing.device)

    def scaled(self, factor: float) -> Self:
        """Multiply by a number."""
        return replace(self, values=self.values * factor, tail=self.tail * factor)

    def truncated(self, rank: int | None = None, keep: float | None = None) -> Self:
        """Keep the largest eigenvalues: at most `rank`, and no more than reach the share `keep` of the trace."""
        values = self.values.double().cpu()
        count = _count(values, float(self.trace), rank, keep)
        if count >= self.rank:
            return self
        rest = float(values[count:].sum()) + self.tail * (self.size - self.rank)
        return replace(
            self,
            vectors=self.vectors[:, :count].clone(),
            values=self.values[:count].clone(),
            tail=rest / (self.size - count),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Copy to a device."""
        return replace(self, vectors=self.vectors.to(device, dtype), values=self.values.to(device, dtype))

    def cpu(self) -> Self:
        """Copy to the CPU."""
        return replace(self, vectors=self.vectors.cpu(), values=self.values.cpu())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""
        return {
            "vectors": self.vectors,
            "values": self.values,
            "tail": torch.tensor(self.tail, dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned."""
        require_names(tensors, ("vectors", "values", "tail"))
        values = require_not_negative("values", tensors["values"], 1)
        vectors = require_orthonormal("vectors", tensors["vectors"])
        if len(values) != vectors.shape[1]:
            raise LaloraError(f"{len(values)} eigenvalues do not go with {vectors.shape[1]} eigenvectors")
        # Saved in a narrower type the least eigenvalue may have been rounded below its tail.
        most = float(values.min()) * (1 + torch.finfo(values.dtype).eps) if len(values) else 0.0
        return cls(vectors, values, require_number("tail", tensors["tail"], 0, most))


def _count(values: Float[Tensor, " k"], trace: float, rank: int | None, keep: float | None) -> int:
    """Count the eigenvalues to keep, of those that are given, largest first."""
    if rank is not None and rank < 1:
        raise LaloraError(f"rank must be at least 1, not {rank}")
    if keep is not None and not 0 < keep <= 1:
        raise LaloraError(f"keep must be a share of the trace, above 0 and at most 1, not {keep}")
    count = len(values) if rank is None else min(rank, len(values))
    if keep is None or keep == 1:
        return count
    reached = values.cumsum(0) >= keep * trace
    return min(count, int(reached.logical_not().sum()) + 1)


def _wide(tensor: Tensor) -> Tensor:
    return _near(tensor).double()


def _near(tensor: Tensor) -> Tensor:
    # Not every accelerator computes in float64, or decomposes.
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def _like(source: Tensor, vectors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(source.dtype, torch.float32)
    return vectors.to(source.device, dtype), values.to(source.device, dtype)
