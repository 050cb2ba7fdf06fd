"""Σ over rows of row rowᵀ, in whatever form is smallest."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lalora import processes
from lalora.curvature import Factor

# With rows of so many times the rank a sketch is smaller than the d×d sum, and cheaper too.
_SKETCHED = 12
# A sketch of rank k keeps 3/2·k rows between merges, and takes k at a time.
_SPARE = 2


def held(size: int, rows: int, rank: int | None) -> int:
    """Count the rows of `size` entries that are held at most of so many, with at most `rank` eigenvectors wanted."""
    return min(rows, size if rank is None or not _is_sketched(size, rank) else _kept(rank) + rank)


def _is_sketched(size: int, rank: int | None) -> bool:
    return rank is not None and size > _SKETCHED * rank


def _kept(rank: int) -> int:
    return rank + rank // _SPARE


class SecondMoment:
    """Collects rows of length d; from the d-th row on, only their d×d sum is kept.

    Where at most k eigenvectors are wanted of a far larger matrix, a sketch is kept instead: whenever there are 5/2·k
    rows, they become the 3/2·k that hold the largest eigenvalues of their sum, and the trace of the others is counted.
    The sum of the rows is then below the true one by a matrix ≥ 0 of that trace, whose largest eigenvalue is at most
    the sum over the merges of the largest eigenvalue that each left out.
    """

    def __init__(self, rank: int | None = None) -> None:
        """Start with no rows; `rank` is the most eigenvectors that will be asked for."""
        self._rank = rank
        self._rows: list[Tensor] = []
        self.count = 0
        self._sum: Tensor | None = None
        self._any = False
        self._left_out = 0.0

    def add(self, rows: Float[Tensor, "n d"]) -> None:
        """Add rows."""
        self.count += rows.shape[0]
        if self._sum is not None:
            self._sum.addmm_(rows.T, rows)
        elif self._rank is not None and _is_sketched(rows.shape[1], self._rank):
            for part in torch.split(rows, self._rank):
                self._rows.append(part.clone())
                if self._held >= _kept(self._rank) + self._rank:
                    self._merge(_kept(self._rank))
        else:
            self._rows.append(rows.clone())
            if self.count >= rows.shape[1]:
                self._close()

    def absorb(self, other: SecondMoment, scale: float) -> None:
        """Add scale times another sum, which is used up."""
        self._left_out += other._left_out * scale
        self._any = self._any or other._any
        if other._sum is None:
            for rows in other._rows:
                self.add(rows * math.sqrt(scale))
            return
        self.count += other.count
        if self._sum is None and self._rows:
            self._close()
        self._sum = other._sum.mul_(scale) if self._sum is None else self._sum.add_(other._sum, alpha=scale)

    @property
    def _held(self) -> int:
        return sum(rows.shape[0] for rows in self._rows)

    def _close(self) -> None:
        collected = torch.cat(self._rows)
        self._any = self._any or bool(collected.any())
        self._sum = collected.T @ collected
        self._rows.clear()

    def _merge(self, rank: int) -> None:
        collected = torch.cat(self._rows)
        self._any = self._any or bool(collected.any())
        found = Factor.of_rows(collected, rank=rank)
        self._left_out += found.tail * (found.size - found.rank)
        self._rows = [(found.vectors * found.values.sqrt()).T.to(collected.dtype)]

    @property
    def vanished(self) -> bool:
        """Whether the rows are not zero, but all their squares are."""
        if self._sum is not None:
            return self._any and not bool(self._sum.any())
        rows = torch.cat(self._rows) if self._rows else torch.empty(0)
        return (self._any or bool(rows.any())) and not bool(rows.square().any())

    def tensors(self) -> list[Tensor]:
        """Return what was collected."""
        return self._rows if self._sum is None else [self._sum]

    def share(self) -> Share:
        """Tell what the other processes must know of it before it is added up."""
        first = self.tensors()[0]
        return Share(self.count, self._held, first.shape[1], first.dtype, self._left_out, self._any)

    def add_up(self, shares: list[Share], empty: Float[Tensor, "0 d"]) -> None:
        """Add what the other processes have: the d×d sums, or the rows themselves where these are smaller."""
        size, own = empty.shape[1], torch.cat(self._rows) if self._rows else empty
        self._rows = []
        self.count = sum(share.count for share in shares)
        self._left_out = sum(share.left_out for share in shares)
        self._any = any(share.any for share in shares)
        if self.count >= size and not _is_sketched(size, self._rank):
            self._any = self._any or bool(own.any())
            self._sum = processes.all_reduce(own.T @ own if self._sum is None else self._sum)
            return
        count = self.count
        for rank, share in enumerate(shares):
            if share.held:
                mine = rank == processes.rank()
                # One after the other, so that no process holds more of a sketch than its own and one more.
                self.add(processes.broadcast(own if mine else own.new_empty(share.held, size), rank))
        self.count = count

    def factor(self, rank: int | None, keep: float | None) -> Factor:
        """Decompose the sum."""
        if self._sum is not None:
            return Factor.of_matrix(self._sum, rank, keep)
        found = Factor.of_rows(torch.cat(self._rows), rank=rank, keep=keep)
        return found.lifted(self._left_out) if self._left_out else found


@dataclass(frozen=True)
class Share:
    """What one process has of a sum: rows seen and rows held of so many entries, and the trace that it left out."""

    count: int
    held: int
    size: int
    dtype: torch.dtype
    left_out: float
    any: bool


def added_up(
    grams: Mapping[str, SecondMoment], rank: int | None, device: torch.device
) -> defaultdict[str, SecondMoment]:
    """Add the rows of all processes, matrix by matrix; every process calls this."""
    shares = processes.all_gather({name: gram.share() for name, gram in grams.items()})
    sums: defaultdict[str, SecondMoment] = defaultdict(SecondMoment)
    for name in sorted(set().union(*shares)):
        known = next(share[name] for share in shares if name in share)
        own = grams[name] if name in grams else SecondMoment(rank)
        place = own.tensors()[0].device if name in grams else device
        nothing = Share(0, 0, known.size, known.dtype, 0.0, False)
        empty = torch.empty(0, known.size, dtype=known.dtype, device=place)
        own.add_up([share.get(name, nothing) for share in shares], empty)
        sums[name] = own
    return sums
