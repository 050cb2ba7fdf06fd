"""Recognise the base model that a curvature was fitted on, across dtypes and quantisation."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from lalora.adapter import base_config
from lalora.engines import is_part, whole
from lalora.errors import LaloraError, warn

PROJECTIONS = 32
_ROWS = 1024
_NORM_TOLERANCE = 0.05
# Mean squared difference of a layer's projections: ε² for rounding by ε of the norm, 2 for unrelated weights.
_MOST_APART = 0.3
# Of the norm: three times the error of bfloat16, and less than a fine-tuning moves a weight by.
_ROUNDING = 0.005
# Mean over layers of the squared move, relative to the squared norm: 2 for unrelated weights.
_MOST_MOVED = 0.5
_SHAPE_SETTINGS = ("model_type", "hidden_size", "num_hidden_layers")
# Of quantised weights the first look counts: some backends repack them in their first forward pass.
_first_seen: weakref.WeakKeyDictionary[nn.Module, dict[str, list[float]]] = weakref.WeakKeyDictionary()

Fingerprint = dict[str, Any]


def fingerprint(model: nn.Module, layers: Mapping[str, nn.Module]) -> Fingerprint:
    """Summarise the base model: its configuration and, for each adapted module, the weight's norm and projections.

    A projection is uᵀWv/‖W‖ for fixed random sign vectors u, v: rounding hardly moves it, another model's weight
    has an unrelated one.
    """
    settings = base_config(model).to_dict()
    summaries, rounded = {}, False
    for name, layer in layers.items():
        base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        # A wrapped bare parameter, as of the experts of a mixture, has a name of its own.
        weight = getattr(base, layer.parameter_name if isinstance(layer, ParamWrapper) else "weight", None)
        require_in_memory(name, weight)
        if is_part(weight) and base not in _first_seen:
            (weight,) = whole([weight])
        rounded = rounded or not _is_plain(weight)
        summaries[name] = _summary(name, weight) if _is_plain(weight) else _of_quantised(name, base, model)
        if not all(map(math.isfinite, summaries[name])):
            raise LaloraError(f"the base weight of '{name}' is not finite: the model is damaged, load it again")
    config = {key: settings[key] for key in _SHAPE_SETTINGS if key in settings}
    return {"config": config, "layers": summaries} | ({"rounded": True} if rounded else {})


def require_in_memory(name: str, weight: Any) -> None:
    """Refuse a weight that lies on disk."""
    if isinstance(weight, Tensor) and weight.is_meta:
        raise LaloraError(
            f"the weight of '{name}' is not in memory (offloaded): load the model without offloading to disk"
        )


def require_same_base(expected: Mapping[str, Any], found: Mapping[str, Any], base_model: str) -> None:
    """Refuse a model that is not the one a curvature was fitted on; warn of one whose weights were moved a little."""
    prefix = _prefix(base_model)
    farthest, where = 0.0, ""
    for name, (summary, other) in _pairs(expected, found, base_model).items():
        # Both are written so that NaN is a difference.
        if not abs(other[0] - summary[0]) <= _NORM_TOLERANCE * summary[0]:
            raise LaloraError(f"{prefix}: the weight of '{name}' has norm {other[0]:.4g} instead of {summary[0]:.4g}")
        if not _apart(summary[1:], other[1:]) <= _MOST_APART:
            raise LaloraError(f"{prefix}: the weight of '{name}' has the same shape and norm but other values")
        farthest, where = max((farthest, where), (math.sqrt(_apart(summary[1:], other[1:])), name))
    if farthest > _ROUNDING and not (expected.get("rounded") or found.get("rounded")):
        warn(
            f"base model '{base_model}' is not as it was when this Laplace was fitted: the weight of '{where}' has "
            f"moved by {farthest:.1%}. If an adapter was merged in, or it was rounded, say laplace.moved_to(model)"
        )


def require_moved_base(expected: Mapping[str, Any], found: Mapping[str, Any], base_model: str) -> None:
    """Refuse a model that is not the one a curvature was fitted on, trained further."""
    moves = []
    for summary, other in _pairs(expected, found, base_model).values():
        norm = max(summary[0], 1e-30)
        moves.append(_apart(summary[1:], [value * other[0] / norm for value in other[1:]]))
    if not sum(moves) / len(moves) <= _MOST_MOVED:
        raise LaloraError(f"{_prefix(base_model)}: its weights are not those of the fit after some training")


def _pairs(
    expected: Mapping[str, Any], found: Mapping[str, Any], base_model: str
) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    prefix = _prefix(base_model)
    for key, value in expected["config"].items():
        if found["config"].get(key) != value:
            raise LaloraError(f"{prefix}: {key} is {found['config'].get(key)} instead of {value}")
    if not expected["layers"]:
        raise LaloraError(f"this Laplace does not tell the weights of its base model '{base_model}': fit it again")
    for name in expected["layers"]:
        if name not in found["layers"]:
            raise LaloraError(f"{prefix}: it has no adapted module '{name}'")
    return {name: (summary, found["layers"][name]) for name, summary in expected["layers"].items()}


def _prefix(base_model: str) -> str:
    return f"this Laplace was fitted on base model '{base_model}', and the model here is another"


def _is_plain(weight: Any) -> TypeGuard[Tensor]:
    return type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point() and weight.itemsize > 1


def _of_quantised(name: str, module: nn.Module, model: nn.Module) -> list[float]:
    seen = _first_seen.setdefault(module, {})
    if name not in seen:
        readable = hasattr(module, "weight") or hasattr(module, "W_q")  # as HQQ calls it
        weight = dequantize_module_weight(module) if readable else None
        seen[name] = _summary(name, weight if _is_plain(weight) else _of_unit_vectors(name, module, model))
    return seen[name]


@torch.no_grad()
def _of_unit_vectors(name: str, module: nn.Module, model: nn.Module) -> Tensor:
    # What a packed layer computes is known, however it keeps its weight.
    width = getattr(module, "in_features", None)
    if not isinstance(width, int):
        raise LaloraError(f"the base weight of '{name}' cannot be read ({type(module).__name__}): adapt other layers")
    like = next(parameter for parameter in model.parameters() if _is_plain(parameter))
    zero = module(like.new_zeros(1, width))
    unit = torch.eye(width, dtype=like.dtype, device=like.device)
    return torch.cat([module(unit[start : start + _ROWS]) - zero for start in range(0, width, _ROWS)]).T


def _summary(name: str, weight: Tensor) -> list[float]:
    matrix = weight.detach().reshape(weight.shape[0], -1)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    generator = torch.Generator().manual_seed(seed)
    left = _signs(PROJECTIONS, matrix.shape[0], generator).to(matrix)
    right = _signs(PROJECTIONS, matrix.shape[1], generator).to(matrix.device)
    norm = torch.linalg.vector_norm(matrix, dtype=torch.promote_types(matrix.dtype, torch.float32))
    projections = ((left @ matrix) * right).sum(dim=1) / norm.clamp_min(1e-30)
    return [round(float(value), 6) for value in (norm, *projections)]


def _signs(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (rows, columns), generator=generator).float().mul_(2).sub_(1)


def _apart(left: Sequence[float], right: Sequence[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(left, right, strict=True)) / len(left)
