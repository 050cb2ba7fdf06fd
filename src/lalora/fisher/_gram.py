"""Σ over rows of row rowᵀ, in whatever form is smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from lalora.curvature import Factor


class Gram:
    """Collects rows of length d; from the d-th row on, only their d×d sum is kept."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._rows: list[Tensor] = []
        self.count = 0
        self._sum: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Add rows.

        Args:
            rows: (n, d), float32 or wider.
        """
        self.count += rows.shape[0]
        if self._sum is not None:
            self._sum.addmm_(rows.T, rows)
            return
        self._rows.append(rows.clone())
        if self.count >= rows.shape[1]:
            collected = torch.cat(self._rows)
            self._sum = collected.T @ collected
            self._rows.clear()

    def tensors(self) -> list[Tensor]:
        """Return what was collected.

        Returns:
            Tensors of any shape.
        """
        return self._rows if self._sum is None else [self._sum]

    def factor(self, scale: float, rank: int | None) -> Factor:
        """Decompose the sum.

        Args:
            scale: A number > 0.
            rank: Most eigenvectors to keep; None for all.

        Returns:
            scale·Σ.
        """
        if self._sum is not None:
            return Factor.of_matrix(self._sum * scale, rank)
        return Factor.of_rows(torch.cat(self._rows), scale, rank)
