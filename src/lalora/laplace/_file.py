"""The parts of a Laplace as the tensors and the description of a file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lalora.curvature import CURVATURES, Curvature, grouped, require_names
from lalora.errors import LaloraError, one_line
from lalora.laplace import _storage
from lalora.laplace._consistent import require_consistent
from lalora.laplace._provenance import Provenance


@dataclass(frozen=True)
class Parts:
    """What a file holds: mean μ, shapes of all tensors of the adapter, curvature Λ, how it was made, prior δ."""

    mean: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    curvature: Curvature
    provenance: Provenance
    prior: float


def save(parts: Parts, folder: Path, dtype: torch.dtype | None) -> None:
    """Write a folder; eigenvectors and diagonals in `dtype` if one is given."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise LaloraError(f"dtype must be a floating-point type such as torch.bfloat16, not {dtype!r}")
    kind = parts.curvature.kind
    tensors = {f"mean/{name}": tensor for name, tensor in parts.mean.items()}
    for name, tensor in parts.curvature.tensors().items():
        narrow = dtype is not None and tensor.dim() > 1 and "anchors/" not in name
        tensors[f"{kind}/{name}"] = tensor.to(dtype) if narrow else tensor
    shapes = {name: list(shape) for name, shape in parts.shapes.items()}
    description = {"shapes": shapes, "kind": kind, "prior": parts.prior, "provenance": parts.provenance.as_json()}
    _storage.write(folder, tensors, description)


def load(folder: Path) -> Parts:
    """Read what `save` wrote; what no fit would have put together is refused."""
    tensors, description = _storage.read(folder)
    kind = description["kind"]
    if kind not in CURVATURES:
        raise LaloraError(f"'{folder}' holds a curvature of kind '{kind}', which this lalora does not know: upgrade it")
    provenance = Provenance.from_json(description["provenance"])
    shapes = {name: tuple(shape) for name, shape in description["shapes"].items()}
    try:
        parts = grouped(tensors)
        require_names(parts, (), ("mean", kind))
        mean = parts.get("mean", {})
        curvature = CURVATURES[kind].from_tensors(parts.get(kind, {}))
        require_consistent(mean, shapes, curvature, provenance)
    except LaloraError as error:
        raise LaloraError(f"'{folder / description['tensors']}' is no curvature: {one_line(error)}") from error
    return Parts(mean, shapes, curvature, provenance, float(description["prior"]))
