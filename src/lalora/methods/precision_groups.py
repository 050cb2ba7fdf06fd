"""How far weights move, by how much they matter (paper, Table 11 and Fig. 3a)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lalora.curvature import Diagonal
from lalora.errors import LaloraError
from lalora.laplace import Laplace

_IMPORTANT_SHARE = 0.1


def precision_groups(
    laplace: Laplace, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """Group the adapter's weights by precision and measure how far each group moved."""
    if not isinstance(laplace.curvature, Diagonal):
        raise LaloraError(f"only a diagonal has a precision for each weight, not '{laplace.curvature.kind}'")
    blocks = laplace.curvature.precision
    precision = torch.cat(
        [blocks.get(name, torch.zeros_like(start)).cpu().float().reshape(-1) for name, start in before.items()]
    )
    moved = torch.cat([(after[name] - start).abs().float().reshape(-1) for name, start in before.items()])
    wanted = max(1, round(_IMPORTANT_SHARE * precision.numel()))
    threshold = precision.topk(wanted).values[-1]
    important = (precision >= threshold) & (precision > 0)
    flexible = precision == 0
    groups = {"flexible": flexible, "middle": ~flexible & ~important, "important": important}
    return [{"group": name, **_row(precision[chosen], moved[chosen])} for name, chosen in groups.items()]


def _row(precision: Tensor, moved: Tensor) -> dict[str, Any]:
    if precision.numel() == 0:
        return {"n": 0, "mean": None, "min": None, "max": None, "change": None}
    return {
        "n": precision.numel(),
        "mean": float(precision.double().mean()),
        "min": float(precision.min()),
        "max": float(precision.max()),
        "change": float(moved.double().mean()),
    }
