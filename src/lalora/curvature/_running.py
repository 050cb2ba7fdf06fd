"""The running mean of a curvature that is fitted again and again."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._factors import Factors
from lalora.curvature._interface import Curvature
from lalora.curvature._kronecker import Kronecker
from lalora.curvature._sum import Sum
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac

Kind = TypeVar("Kind", bound=Curvature)


def running_mean(old: Kind, new: Kind, decay: float, rank: int | None = None, keep: float | None = None) -> Curvature:
    """Average two curvatures of one adapter; Kronecker factors one by one.

    So that nothing grows, a factor keeps at most as many eigenvectors as the larger of the two had.

    In weight space displacement goes on being measured from where `old` started. `kfac` and `tri-kfac` meet the mean
    factors with the A and B of `new`.

    Args:
        old: What was known.
        new: Of the same kind, fitted where the adapter is now.
        decay: Weight of `old`, at least 0 and below 1.
        rank: Most eigenvectors of a factor to keep; None for all.
        keep: Share of the trace of a factor to keep at least; None for all.

    Returns:
        decay·old + (1 − decay)·new.
    """
    if isinstance(old, Sum) and isinstance(new, Sum):
        parts = [running_mean(*pair, decay, rank, keep) for pair in zip(old.parts, new.parts, strict=True)]
        return Sum.of(parts, new.weights)
    shares = (decay, 1 - decay)
    if isinstance(old, Diagonal) and isinstance(new, Diagonal):
        return Diagonal.combined([old.scaled(shares[0]), new.scaled(shares[1])])
    if isinstance(old, WeightDiagonal) and isinstance(new, WeightDiagonal):
        return WeightDiagonal.combined([old.scaled(shares[0]), replace(new, anchors=old.anchors).scaled(shares[1])])
    assert isinstance(old, Kronecker) and isinstance(new, Kronecker)
    factors = _as_large(Factors.mean([old.factors, new.factors], shares), (old.factors, new.factors))
    factors = factors.truncated(rank, keep)
    return replace(new, factors=factors, anchors=old.anchors if isinstance(old, WeightKfac) else new.anchors)


def _as_large(mean: Factors, parts: tuple[Factors, Factors]) -> Factors:
    def most(ranks: list[int]) -> int:
        return max(1, *ranks)

    inputs = {key: x.truncated(most([part.inputs[key].rank for part in parts])) for key, x in mean.inputs.items()}
    outputs = {name: g.truncated(most([part.g(name).rank for part in parts])) for name, g in mean.outputs.items()}
    return replace(mean, inputs=inputs, outputs=outputs)


def added(first: Curvature, second: Curvature) -> Curvature:
    """Add the curvatures of two tasks, both measuring from where the second starts.

    Args:
        first: Of the earlier task.
        second: Of the later one, on the same adapter.

    Returns:
        Their sum.
    """
    if isinstance(first, Diagonal) and isinstance(second, Diagonal):
        return Diagonal.combined([first, second])
    if isinstance(second, WeightKfac | WeightDiagonal):
        moved = _moved(first, second)
        if isinstance(moved, WeightDiagonal) and isinstance(second, WeightDiagonal):
            return WeightDiagonal.combined([moved, second])
        return Sum.of([moved, second])
    if isinstance(second, Sum):
        start = next((part for part in second.parts if isinstance(part, WeightKfac | WeightDiagonal)), None)
        return Sum.of([first if start is None else _moved(first, start), second])
    return Sum.of([first, second])


def _moved(curvature: Curvature, start: WeightKfac | WeightDiagonal) -> Curvature:
    if isinstance(curvature, Sum):
        return replace(curvature, parts=tuple(_moved(part, start) for part in curvature.parts))
    if isinstance(curvature, WeightKfac | WeightDiagonal):
        return replace(curvature, anchors=start.anchors)
    return curvature
