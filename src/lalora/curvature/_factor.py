"""A symmetric positive semi-definite matrix as eigenvectors and eigenvalues, never built where it is large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._believed import require_names, require_not_negative, require_number, require_orthonormal
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Factor:
    """Q diag(e) Qᵀ, d×d and of rank k ≤ d; all work with it costs O(d·k).

    Attributes:
        vectors: Q, (d, k), orthonormal columns.
        values: e > 0, (k,), largest first.
        discarded: Share of the trace that truncation left out.
    """

    vectors: Tensor
    values: Tensor
    discarded: float = 0.0

    @classmethod
    def of_matrix(cls, matrix: Tensor, rank: int | None = None, keep: float | None = None) -> Self:
        """Decompose a dense matrix; eigenvalues that are zero to rounding are left out.

        Args:
            matrix: Symmetric positive semi-definite, (d, d).
            rank: Most eigenvectors to keep; None for all.
            keep: Share of the trace to keep; None for all.

        Returns:
            The factor, on the device of the matrix and of its type or float32, whichever is wider.

        Raises:
            LaloraError: If an entry is not finite, or `rank` or `keep` is out of range.
        """
        # A dense matrix was accumulated in its own type: to decompose it in a wider one would take twice as long, and
        # make its small eigenvalues no more exact.
        own = torch.promote_types(matrix.dtype, torch.float32)
        values, vectors, shown = _eigen(_near(matrix).to(own), torch.finfo(matrix.dtype).eps * matrix.shape[0])
        return cls(*_like(matrix, vectors[:, shown], values[shown])).truncated(rank, keep)

    @classmethod
    def of_rows(cls, rows: Tensor, scale: float = 1.0, rank: int | None = None, keep: float | None = None) -> Self:
        """Decompose scale·rowsᵀrows, through the n×n matrix of inner products where there are fewer rows than columns.

        Args:
            rows: (n, d).
            scale: A number ≥ 0, such as one over the number of positions.
            rank: Most eigenvectors to keep; None for all.
            keep: Share of the trace to keep; None for all.

        Returns:
            The factor, on the device of the rows and of their type or float32, whichever is wider.

        Raises:
            LaloraError: If an entry is not finite, or `rank` or `keep` is out of range.
        """
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
        """Add factors; the parts' discarded traces are carried along.

        Args:
            parts: Factors of one size.
            weights: A number ≥ 0 for each; None for ones.

        Returns:
            Σ weight·part.
        """
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
    def trace(self) -> Tensor:
        """Sum of the eigenvalues that were kept."""
        return self.values.sum()

    @cached_property
    def _roots(self) -> Tensor:
        return self.values.sqrt()[:, None]

    def half(self, columns: Tensor) -> Tensor:
        """Compute H with HᵀH = Vᵀ(Q diag(e) Qᵀ)V.

        Args:
            columns: V, (d, m).

        Returns:
            H = diag(√e) Qᵀ V, (k, m).
        """
        return self._roots * (self.vectors.T @ columns)

    def half_rows(self, rows: Tensor) -> Tensor:
        """Compute `half` of rows laid out as the tensor A is: at small ranks several times faster than of Aᵀ.

        Args:
            rows: Vᵀ, (m, d).

        Returns:
            H = diag(√e) Qᵀ V, (k, m).
        """
        return ((rows @ self.vectors) * self._roots.T).T

    def back(self, half: Tensor) -> Tensor:
        """Finish a product that `half` began: `back(half(V))` is Q diag(e) Qᵀ V.

        Args:
            half: H, (k, m).

        Returns:
            Q diag(√e) H, (d, m).
        """
        return self.vectors @ (self._roots * half)

    def back_rows(self, half: Tensor) -> Tensor:
        """Compute `back(half)` transposed, laid out row by row as the tensor A is.

        Args:
            half: H, (k, m).

        Returns:
            Hᵀ diag(√e) Qᵀ, (m, d).
        """
        return (self._roots * half).T @ self.vectors.T

    def times(self, columns: Tensor) -> Tensor:
        """Compute Q diag(e) Qᵀ V.

        Args:
            columns: V, (d, m).

        Returns:
            The product, (d, m).
        """
        return self.back(self.half(columns))

    def inner(self, columns: Tensor) -> Tensor:
        """Compute the quadratic form Vᵀ(Q diag(e) Qᵀ)V.

        Args:
            columns: V, (d, m).

        Returns:
            The form, (m, m), symmetric.
        """
        half = self.half(columns)
        return half.T @ half

    def dense(self) -> Tensor:
        """Build the d×d matrix, for tests and small sizes.

        Returns:
            Q diag(e) Qᵀ.
        """
        return (self.vectors * self.values) @ self.vectors.T

    def scaled(self, factor: float) -> Self:
        """Multiply by a number.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled factor.
        """
        return replace(self, values=self.values * factor)

    def truncated(self, rank: int | None = None, keep: float | None = None) -> Self:
        """Keep the largest eigenvalues, as few as both limits allow.

        Args:
            rank: Most eigenvectors to keep; None for all.
            keep: Share of this factor's trace to keep at least; None for all.

        Returns:
            The truncated factor, with `discarded` measured against what this one was made from.

        Raises:
            LaloraError: If `rank` or `keep` is out of range.
        """
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
        """Copy to a device.

        Args:
            device: Where to.
            dtype: Type of both tensors.

        Returns:
            The copy.
        """
        return replace(self, vectors=self.vectors.to(device, dtype), values=self.values.to(device, dtype))

    def cpu(self) -> Self:
        """Copy to the CPU.

        Returns:
            The copy.
        """
        return replace(self, vectors=self.vectors.cpu(), values=self.values.cpu())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            Three tensors.
        """
        discarded = torch.tensor(self.discarded, dtype=torch.float64)
        return {"vectors": self.vectors, "values": self.values, "discarded": discarded}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned.

        Args:
            tensors: Three tensors.

        Returns:
            The factor.

        Raises:
            LaloraError: If they are not three that fit together, the vectors are not orthonormal, or a value is
                negative.
        """
        require_names(tensors, ("vectors", "values", "discarded"))
        values = require_not_negative("values", tensors["values"], 1)
        vectors = require_orthonormal("vectors", tensors["vectors"])
        if len(values) != vectors.shape[1]:
            raise LaloraError(f"{len(values)} eigenvalues do not go with {vectors.shape[1]} eigenvectors")
        return cls(vectors, values, require_number("discarded", tensors["discarded"], 0, 1))


def _eigen(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
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
