"""Whether the parts of a file belong together: mean, shapes, curvature and settings of one adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lalora.curvature import Curvature, Sum, WeightSpace, require_finite
from lalora.errors import LaloraError
from lalora.laplace._provenance import Provenance

_LARGEST_MEAN = 1e6


def require_consistent(
    mean: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    curvature: Curvature,
    provenance: Provenance,
) -> None:
    """Refuse parts that no fit would have put together."""
    _require_kind(curvature, provenance)
    if bool(shapes) != bool(provenance.lora):
        raise LaloraError("the shapes of an adapter and its LoRA settings go together: one of them is missing")
    for name, tensor in mean.items():
        require_finite(name, tensor)
        if shapes.get(name) != tuple(tensor.shape):
            raise LaloraError(f"the mean of '{name}' has a shape that is not the one in the description")
        if tensor.numel() and not float(tensor.abs().max()) <= _LARGEST_MEAN:
            raise LaloraError(f"the mean of '{name}' is larger than {_LARGEST_MEAN:g}")
    for part in curvature.parts if isinstance(curvature, Sum) else (curvature,):
        _require_beside(part, shapes)
    if shapes:
        _require_ranks(mean, shapes, provenance.lora)


def _require_kind(curvature: Curvature, provenance: Provenance) -> None:
    several = provenance.fit.combine in ("separate", "sum") or provenance.tasks > 1
    if isinstance(curvature, Sum):
        kinds = {part.kind for part in curvature.parts}
        if not several or not curvature.parts or provenance.fit.curvature not in kinds:
            raise LaloraError("a sum of curvatures does not go with what the description says of the fit")
    elif curvature.kind != provenance.fit.curvature:
        raise LaloraError(
            f"a curvature of kind '{curvature.kind}' does not go with a fit of '{provenance.fit.curvature}'"
        )


def _require_beside(part: Curvature, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if not shapes:
        if not isinstance(part, WeightSpace) or part.anchors:
            raise LaloraError("a Laplace of a base model is in weight space, and knows no adapter")
        return
    found = part.shapes()
    for name in found:
        if shapes.get(name) != found[name]:
            raise LaloraError(f"the curvature of '{name}' has a shape that is not the one in the description")


def _require_ranks(mean: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], lora: Mapping[str, Any]) -> None:
    # An adapter is built from these settings, so nothing may stand in them that no tensor in the file has paid for.
    most = max((max(tensor.shape, default=0) for tensor in mean.values()), default=0)
    ranks = {name: shape[0] for name, shape in shapes.items() if name.endswith(".lora_A.weight") and len(shape) == 2}
    for rank in (lora["r"], *(lora["rank_pattern"] or {}).values(), *ranks.values()):
        if rank > most:
            raise LaloraError(f"no tensor in the file is of the rank {rank} that the description tells of")
