"""Σ over rows of row rowᵀ, in whatever form is smaller."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lalora import processes
from lalora.curvature import Factor


class SecondMoment:
    """Collects rows of length d; from the d-th row on, only their d×d sum is kept."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._rows: list[Tensor] = []
        self.count = 0
        self._sum: Tensor | None = None
        self._any = False

    def add(self, rows: Float[Tensor, "n d"]) -> None:
        """Add rows."""
        self.count += rows.shape[0]
        if self._sum is not None:
            self._sum.addmm_(rows.T, rows)
            return
        self._rows.append(rows.clone())
        if self.count >= rows.shape[1]:
            self._close()

    def absorb(self, other: SecondMoment, scale: float) -> None:
        """Add scale times another sum."""
        if other._sum is None:
            for rows in other._rows:
                self.add(rows * math.sqrt(scale))
            return
        self.count += other.count
        self._any = self._any or other._any
        if self._sum is None and self._rows:
            self._close()
        addend = other._sum * scale
        self._sum = addend if self._sum is None else self._sum.add_(addend)

    def _close(self) -> None:
        collected = torch.cat(self._rows)
        self._any = self._any or bool(collected.any())
        self._sum = collected.T @ collected
        self._rows.clear()

    @property
    def vanished(self) -> bool:
        """Whether the rows are not zero, but all their squares are."""
        if self._sum is not None:
            return self._any and not bool(self._sum.any())
        rows = torch.cat(self._rows) if self._rows else torch.empty(0)
        return bool(rows.any()) and not bool(rows.square().any())

    def tensors(self) -> list[Tensor]:
        """Return what was collected."""
        return self._rows if self._sum is None else [self._sum]

    def add_up(self, counts: list[int], empty: Float[Tensor, "0 d"]) -> None:
        """Add the rows of the other processes: the rows themselves, or the d×d sums where these are smaller."""
        self.count = sum(counts)
        size = empty.shape[1]
        rows = torch.cat(self._rows) if self._rows else empty
        self._rows.clear()
        if self.count >= size:
            self._any = self._any or bool(rows.any())
            self._sum = processes.all_reduce(rows.T @ rows if self._sum is None else self._sum)
            return
        for rank, count in enumerate(counts):
            if count:
                own = rank == processes.rank()
                self._rows.append(processes.broadcast(rows if own else rows.new_empty(count, size), rank))

    def factor(self, rank: int | None, keep: float | None) -> Factor:
        """Decompose the sum."""
        if self._sum is not None:
            return Factor.of_matrix(self._sum, rank, keep)
        return Factor.of_rows(torch.cat(self._rows), rank=rank, keep=keep)


def added_up(grams: Mapping[str, SecondMoment], device: torch.device) -> defaultdict[str, SecondMoment]:
    """Add the rows of all processes, matrix by matrix; every process calls this."""
    shares = processes.all_gather(
        {name: (gram.count, gram.tensors()[0].shape[1], gram.tensors()[0].dtype) for name, gram in grams.items()}
    )
    sums: defaultdict[str, SecondMoment] = defaultdict(SecondMoment)
    for name in sorted(set().union(*shares)):
        _, size, dtype = next(share[name] for share in shares if name in share)
        own = grams[name] if name in grams else SecondMoment()
        place = own.tensors()[0].device if name in grams else device
        counts = [share[name][0] if name in share else 0 for share in shares]
        own.add_up(counts, torch.empty(0, size, dtype=dtype, device=place))
        sums[name] = own
    return sums
