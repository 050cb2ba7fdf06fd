"""How large a Laplace is, and of how much of it truncation kept the mean alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from lalora.curvature import Curvature, Factor, Kronecker, Sum, WeightDiagonal
from lalora.errors import LaloraError
from lalora.tensor_names import a_name, b_name

_SMALL = 1e5
_BYTES_OF_A_WEIGHT = 2
"""Models are published in bfloat16."""
_MEASURED = ((0.0, 0.0), (0.008, 0.01), (0.131, 0.01), (0.238, 0.04), (0.352, 0.06), (0.465, 0.08))
"""Mean share of the trace of which only the mean was kept, and how far the predicted drift then was from that of the
whole curvature: docs/curvatures.md."""


@dataclass(frozen=True)
class Size:
    """The size of a Laplace beside that of the layers that it is of.

    Attributes:
        nbytes: Of its tensors.
        layers: Number of layers.
        weights: Bytes of the weights of these layers in bfloat16.
        ranks: Fewest and most eigenvectors of a Kronecker factor; None without factors.
        averaged: Share of a factor's trace of which only the mean eigenvalue is kept, mean over factors.
        worst: The largest such share.
    """

    nbytes: int
    layers: int
    weights: int
    ranks: tuple[int, int] | None
    averaged: float
    worst: float

    @property
    def share(self) -> float:
        """Its bytes over those of the layers' weights."""
        return self.nbytes / self.weights if self.weights else 0.0

    def __str__(self) -> str:
        """Say it in a line."""
        size = f"{self.nbytes / 1e6:,.1f} MB" if self.nbytes >= _SMALL else f"{self.nbytes / 1e3:,.1f} kB"
        told = f"{size}, {self.share:.0%} of the {self.layers} layers' weights in bfloat16"
        if self.ranks is None:
            return told
        few, most = self.ranks
        told += f"; {most if few == most else f'{few} to {most}'} eigenvectors a factor"
        if not self.worst:
            return told
        return (
            f"{told}, and the mean of the other {self.averaged:.1%} of its trace on average, {self.worst:.0%} at most"
        )

    @property
    def cost(self) -> str:
        """Say how much the prediction loses by it, as measured; empty where nothing was truncated."""
        if not self.averaged:
            return ""
        off = _MEASURED[-1][1]
        for (below, low), (above, high) in pairwise(_MEASURED):
            if below <= self.averaged <= above:
                off = low + (high - low) * (self.averaged - below) / (above - below)
        about = "over" if self.averaged > _MEASURED[-1][0] else "about"
        return (
            f"where only the mean of as much was kept for SmolLM2-135M, the predicted drift was off by {about} "
            f"{off:.0%}"
        )


def size_of(curvature: Curvature, shapes: Mapping[str, tuple[int, ...]], nbytes: int) -> Size:
    """Look at a curvature; the shapes are those of the adapter's tensors, none of a base model."""
    layers = dict[str, int]()
    for part in _parts(curvature):
        if isinstance(part, Kronecker):
            layers |= {layer: math.prod(part.factors.shape(layer)) for layer in part.factors.layers}
        elif isinstance(part, WeightDiagonal):
            layers |= {layer: squares.numel() for layer, squares in part.fisher.items()}
    found = factors_of(curvature)
    layers = layers or _of_adapter(shapes)
    shares = [factor.averaged for factor in found]
    ranks = [factor.rank for factor in found]
    return Size(
        nbytes=nbytes,
        layers=len(layers),
        weights=_BYTES_OF_A_WEIGHT * sum(layers.values()),
        ranks=(min(ranks), max(ranks)) if ranks else None,
        averaged=sum(shares) / len(shares) if shares else 0.0,
        worst=max(shares, default=0.0),
    )


def stored(
    mean: Mapping[str, Tensor], curvature: Curvature, dtype: torch.dtype | None
) -> dict[str, tuple[Tensor, torch.dtype | None]]:
    """Name every tensor of the file, with the type that it is saved in; None for its own."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise LaloraError(f"dtype must be a floating-point type such as torch.bfloat16, not {dtype!r}")
    found: dict[str, tuple[Tensor, torch.dtype | None]]
    found = {f"mean/{name}": (tensor, None) for name, tensor in mean.items()}
    for name, tensor in curvature.tensors().items():
        narrow = tensor.dim() > 1 and "anchors/" not in name
        found[f"{curvature.kind}/{name}"] = tensor, dtype if narrow else None
    return found


def has_factors(curvature: Curvature) -> bool:
    """Tell whether there is something to truncate."""
    return bool(factors_of(curvature))


def truncate(curvature: Curvature, rank: int) -> Curvature:
    """Keep at most `rank` eigenvectors of every Kronecker factor."""
    if isinstance(curvature, Sum):
        return replace(curvature, parts=tuple(truncate(part, rank) for part in curvature.parts))
    if isinstance(curvature, Kronecker):
        return replace(curvature, factors=curvature.factors.truncated(rank))
    return curvature


def rank_within(curvature: Curvature, most: float, now: int, dtype: torch.dtype | None) -> int:
    """Find the most eigenvectors a factor with which a Laplace, which takes `now` bytes, takes at most so many."""
    factors = factors_of(curvature)

    def size(rank: int) -> int:
        return now - sum(
            max(0, one.rank - rank) * (one.size * (dtype or one.vectors.dtype).itemsize + one.values.itemsize)
            for one in factors
        )

    largest = max((factor.rank for factor in factors), default=0)
    low, high = 0, largest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= most else (low, middle - 1)
    if not low:
        raise LaloraError(
            f"with one eigenvector a factor it takes {size(1):,} bytes, more than the {int(most):,} asked for: "
            "allow a larger share"
        )
    return low


def _parts(curvature: Curvature) -> tuple[Curvature, ...]:
    return curvature.parts if isinstance(curvature, Sum) else (curvature,)


def factors_of(curvature: Curvature) -> list[Factor]:
    """List the Kronecker factors of a curvature."""
    held = [part.factors for part in _parts(curvature) if isinstance(part, Kronecker)]
    return [factor for one in held for factor in (*one.inputs.values(), *one.outputs.values())]


def _of_adapter(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    end = b_name("")
    names = [name.removesuffix(end) for name in shapes if name.endswith(end)]
    return {name: shapes[b_name(name)][0] * shapes[a_name(name)][-1] for name in names if a_name(name) in shapes}
