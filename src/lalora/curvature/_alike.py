"""Layers that can be computed at once, where their tensors lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lalora.curvature._anchor import Anchor
from lalora.curvature._factors import Factors
from lalora.curvature._side import Group, Rows, Side, identities, stacked
from lalora.tensor_names import a_name, b_name


@dataclass(frozen=True)
class Alike:
    """Layers on one device whose adapters have one rank, and of which the same tensors start at zero.

    Attributes:
        x: X of each.
        g: s²G of each.
        a0: A₀ of each; None where it is zero.
        b0: B₀ of each; None where it is zero.
    """

    x: Side
    g: Side
    a0: Rows | None
    b0: Rows | None


def with_factors(
    factors: Factors, anchors: Mapping[str, Anchor], homes: Mapping[str, torch.device], dtype: torch.dtype
) -> Iterator[Alike]:
    """Stack X and G of the layers that have a home and in which some direction costs something."""
    excited = [layer for layer in homes if factors.x(layer).rank and factors.g(layer).rank]
    for device, layers in _parted(anchors, excited, homes):
        sharing: dict[str, list[str]] = {}
        for layer in layers:
            sharing.setdefault(factors.keys[layer], []).append(layer)
        inputs = [(factors.inputs[key], tuple(of_key)) for key, of_key in sharing.items()]
        outputs = [(factors.g(layer), (layer,)) for layer in layers]
        squared = {layer: anchors[layer].scale ** 2 for layer in layers}
        x, g = stacked(inputs, {}, device, dtype), stacked(outputs, squared, device, dtype)
        yield _alike(x, g, anchors, device, dtype)


def without_factors(
    precision: float, anchors: Mapping[str, Anchor], homes: Mapping[str, torch.device], dtype: torch.dtype
) -> Iterator[Alike]:
    """Put the identity in the place of X, and a number in that of G."""
    for device, layers in _parted(anchors, homes, homes):
        shapes = {layer: anchors[layer].shape for layer in layers}
        weights = {layer: precision * anchors[layer].scale ** 2 for layer in layers}
        x = identities({layer: into for layer, (_, _, into) in shapes.items()}, {}, device, dtype)
        g = identities({layer: out for layer, (out, _, _) in shapes.items()}, weights, device, dtype)
        yield _alike(x, g, anchors, device, dtype)


def _parted(
    anchors: Mapping[str, Anchor], layers: Iterable[str], homes: Mapping[str, torch.device]
) -> Iterator[tuple[torch.device, list[str]]]:
    parts: dict[tuple[torch.device, int, bool, bool], list[str]] = {}
    for layer in layers:
        anchor = anchors[layer]
        kind = (homes[layer], anchor.shape[1], anchor.a is None, anchor.b is None)
        parts.setdefault(kind, []).append(layer)
    for (device, *_), found in parts.items():
        yield device, found


def _alike(
    x: tuple[Group, ...], g: tuple[Group, ...], anchors: Mapping[str, Anchor], device: torch.device, dtype: torch.dtype
) -> Alike:
    order = tuple(layer for group in x for layer in group.layers)
    of_x = Side(x, {layer: a_name(layer) for layer in order}, order, device, columns=False)
    of_g = Side(g, {layer: b_name(layer) for layer in order}, order, device, columns=True)

    def seen(side: Side, starts: Mapping[str, Tensor | None]) -> Rows | None:
        there = {name: tensor.to(device, dtype) for name, tensor in starts.items() if tensor is not None}
        return side.rows(there) if there else None

    a0 = seen(of_x, {a_name(layer): anchors[layer].a for layer in order})
    return Alike(of_x, of_g, a0, seen(of_g, {b_name(layer): anchors[layer].b for layer in order}))
