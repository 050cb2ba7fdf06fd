"""A symmetric positive semi-definite matrix as eigenvectors and eigenvalues, never built where it is large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._checks import require_names, require_not_negative, require_number, require_orthonormal
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Factor:
    """Q diag(e) Qᵀ, d×d and of rank k ≤ d; all work with it costs O(d·k).

    Attributes:
        vectors: Q, (d, k), orthonormal columns.
        values: e > 0, (k,), largest first.
        discarded: Share of the trace that truncation left out.
    """

    vectors: Float[Tensor, "d k"]
    values: Float[Tensor, " k"]
    discarded: float = 0.0

    @classmethod
    def of_matrix(cls, matrix: Float[Tensor, "d d"], rank: int | None = None, keep: float | None = None) -> Self:
        """Decompose a dense matrix; eigenvalues that are zero to rounding are left out."""
        # A dense matrix was accumulated in its own type: to decompose it in a wider one would take twice as long, and
        # make its small eigenvalues no more exact.
        own = torch.promote_types(matrix.dtype, torch.float32)
        values, vectors, shown = _eigen(_near(matrix).to(own), torch.finfo(matrix.dtype).eps * matrix.shape[0])
        return cls(*_like(matrix, vectors[:, shown], values[shown])).truncated(rank, keep)

    @classmethod
    def of_rows(
        cls, rows: Float[Tensor, "n d"], scale: float = 1.0, rank: int | None = None, keep: float | None = None
    ) -> Self:
        """Decompose scale·rowsᵀrows, through the n×n inner products where there are fewer rows than columns."""
        wide = _wide(rows)
        count, size = wide.shape
        tolerance = torch.finfo(wide.dtype).eps * max(count, size)
        if count >= size:
            values, vectors, shown = _eigen(wide.T @ wide, tolerance)
            return cls(*_like(rows, vectors[:, shown], values[shown] * scale)).truncated(rank, keep)
        # Σ e qqᵀ = rowsᵀ(Σ uuᵀ)rows, so the factor is as exact as the u are orthonormal.
        values, inner, shown = _eigen(wide @ wide.T, tolerance)
        vectors = (wide.T @ inner[:, shown]) / values[shown].sqrt()
        return cls(*_like(rows, vectors, values[shown] * scale)).truncated(rank, keep)

    @classmethod
    def combined(cls, parts: Sequence[Self], weights: Sequence[float] | None = None) -> Self:
        """Add the factors, each times its weight; the parts' discarded traces are carried along."""
        factors = [1.0] * len(parts) if weights is None else weights
        weighted = [part.scaled(weight) for part, weight in zip(parts, factors, strict=True)]
        wide = [
            part.to(part.vectors.device, torch.promote_types(part.vectors.dtype, torch.float32)) for part in weighted
        ]
        total = cls.of_rows(torch.cat([part.vectors * part.values.sqrt() for part in wide], dim=1).T)
        full = sum(float(part.trace) / (1 - part.discarded) for part in weighted)
        lost = sum(float(part.trace) / (1 - part.discarded) * part.discarded for part in weighted)
        return replace(total, discarded=lost / full if full else 0.0)

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
        """Sum of the eigenvalues that were kept."""
        return self.values.sum()

    @cached_property
    def _roots(self) -> Tensor:
        return self.values.sqrt()[:, None]

    def to_root(self, columns: Float[Tensor, "{self.size} m"]) -> Float[Tensor, "{self.rank} m"]:
        """Compute the root coordinates H = diag(√e) Qᵀ V of columns V: HᵀH = Vᵀ(Q diag(e) Qᵀ)V."""
        return self._roots * (self.vectors.T @ columns)

    def from_root(self, coordinates: Float[Tensor, "{self.rank} m"]) -> Float[Tensor, "{self.size} m"]:
        """Compute Q diag(√e) H: `from_root(to_root(V))` is Q diag(e) Qᵀ V."""
        return self.vectors @ (self._roots * coordinates)

    def times(self, columns: Float[Tensor, "{self.size} m"]) -> Float[Tensor, "{self.size} m"]:
        """Compute Q diag(e) Qᵀ V."""
        return self.from_root(self.to_root(columns))

    def inner(self, columns: Float[Tensor, "{self.size} m"]) -> Float[Tensor, "m m"]:
        """Compute the quadratic form Vᵀ(Q diag(e) Qᵀ)V."""
        root = self.to_root(columns)
        return root.T @ root

    def dense(self) -> Float[Tensor, "{self.size} {self.size}"]:
        """Build the d×d matrix, for tests and small sizes."""
        return (self.vectors * self.values) @ self.vectors.T

    def scaled(self, factor: float) -> Self:
        """Multiply by a number."""
        return replace(self, values=self.values * factor)

    def truncated(self, rank: int | None = None, keep: float | None = None) -> Self:
        """Keep the largest eigenvalues: at most `rank`, and no more than reach the share `keep` of the trace."""
        if rank is not None and rank < 1:
            raise LaloraError(f"rank must be at least 1, not {rank}")
        if keep is not None and not 0 < keep <= 1:
            raise LaloraError(f"keep must be a share of the trace, above 0 and at most 1, not {keep}")
        count = self.rank if rank is None else min(rank, self.rank)
        values = self.values.double().cpu() if self.rank else self.values
        if keep is not None and keep < 1:
            reached = values.cumsum(0) >= keep * values.sum()
            count = min(count, int(reached.logical_not().sum()) + 1)
        if count >= self.rank:
            return self
        lost = float(values[count:].sum() / values.sum())
        return replace(
            self,
            vectors=self.vectors[:, :count].clone(),
            values=self.values[:count].clone(),
            discarded=1 - (1 - self.discarded) * (1 - lost),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Copy to a device."""
        return replace(self, vectors=self.vectors.to(device, dtype), values=self.values.to(device, dtype))

    def cpu(self) -> Self:
        """Copy to the CPU."""
        return replace(self, vectors=self.vectors.cpu(), values=self.values.cpu())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""
        discarded = torch.tensor(self.discarded, dtype=torch.float64)
        return {"vectors": self.vectors, "values": self.values, "discarded": discarded}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned."""
        require_names(tensors, ("vectors", "values", "discarded"))
        values = require_not_negative("values", tensors["values"], 1)
        vectors = require_orthonormal("vectors", tensors["vectors"])
        if len(values) != vectors.shape[1]:
            raise LaloraError(f"{len(values)} eigenvalues do not go with {vectors.shape[1]} eigenvectors")
        return cls(vectors, values, require_number("discarded", tensors["discarded"], 0, 1))


def _eigen(
    matrix: Float[Tensor, "d d"], tolerance: float
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"], Bool[Tensor, " d"]]:
    if not bool(matrix.isfinite().all()):
        raise LaloraError("a Kronecker factor is not finite: the model gave NaN or infinite activations or gradients")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    return values, vectors, values > tolerance * values[:1].clamp(min=0)


def _wide(tensor: Tensor) -> Tensor:
    return _near(tensor).double()


def _near(tensor: Tensor) -> Tensor:
    # Not every accelerator computes in float64, or decomposes.
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def _like(source: Tensor, vectors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(source.dtype, torch.float32)
    return vectors.to(source.device, dtype), values.to(source.device, dtype)
