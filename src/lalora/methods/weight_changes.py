"""How all weights of an adapter moved in training, as counts (paper, Fig. 14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BINS = 49
"""Of the start and of the end: an odd number, so that zero, where B starts, lies in the middle of a bin."""
_DECADES, _BINS_A_DECADE = (-8, 1), 6


def weight_changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Count weights by start and end, and by the size of their change.

    The bins of the start are equally wide and reach from minus to plus its largest |weight|, so that runs from one
    start share them; those of the end likewise for the end. A bin holds its lower edge, the last one its upper edge
    too. The bins of |change| are six a decade from 1e-8 to 10; changes of exactly zero, smaller and larger ones are
    counted by themselves.

    Args:
        before: Tensors at the start by name.
        after: The same at the end.

    Returns:
        The fields of `lalora.results.weight_changes.WeightChanges`; None where a weight is NaN or infinite.
    """
    start_limit, end_limit = (_largest([tensors[name] for name in before]) for tensors in (before, after))
    if start_limit is None or end_limit is None:
        return None
    (low, high), per_decade = _DECADES, _BINS_A_DECADE
    inner = [10 ** (low + step / per_decade) for step in range((high - low) * per_decade + 1)]
    joint = torch.zeros(BINS, BINS, dtype=torch.int64)
    sizes = torch.zeros(len(inner) + 1, dtype=torch.int64)
    zero = 0
    for name in before:
        start, end = (tensors[name].detach().cpu().double().reshape(-1) for tensors in (before, after))
        cells = BINS * _bin(start, start_limit) + _bin(end, end_limit)
        joint += torch.bincount(cells, minlength=BINS * BINS).reshape(BINS, BINS)
        size = (end - start).abs()
        zero += int((size == 0).sum())
        # The first of these bins is below the others, the last above them.
        places = torch.bucketize(size[size > 0], torch.tensor(inner, dtype=torch.float64), right=True)
        sizes += torch.bincount(places, minlength=len(sizes))
    return {
        "weights": int(joint.sum()),
        "start_limit": start_limit,
        "end_limit": end_limit,
        "joint": joint.tolist(),
        "least_change": inner[0],
        "most_change": inner[-1],
        "changes": sizes[1:-1].tolist(),
        "unchanged": zero,
        "smaller": int(sizes[0]),
        "larger": int(sizes[-1]),
    }


def _largest(tensors: list[Tensor]) -> float | None:
    """Return the largest |weight|, 1 where all are zero, None where one is not finite."""
    largest = [float(tensor.detach().abs().max()) for tensor in tensors if tensor.numel()]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        return None
    return max(largest, default=0.0) or 1.0


def _bin(values: Tensor, limit: float) -> Tensor:
    edges = [limit * (2 * step / BINS - 1) for step in range(BINS + 1)]
    return torch.bucketize(values, torch.tensor(edges[1:-1], dtype=torch.float64), right=True)
