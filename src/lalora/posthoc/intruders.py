"""Intruder dimensions (Shuttleworth et al., 2024, arXiv 2410.21228), taken away after training."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.adapter import LinearPair, linear_pairs
from lalora.methods import base_weight, require_floating
from lalora.posthoc.base import Rival
from lalora.posthoc.held import with_adapter

_LOOKED_AT, _UNLIKE = 10, 0.5


@dataclass(frozen=True)
class _Reducible:
    """A layer that has intruders: ΔW, their part of W + ΔW, and the s and r of its adapter."""

    change: Float[Tensor, "d_out d_in"]
    intruders: Float[Tensor, "d_out d_in"]
    scaling: float
    rank: int


class IntruderRemoval(Rival):
    """Takes a share of each intruder dimension away and cuts the rest back to rank r.

    A left singular vector among the ten largest of W + ΔW that has no cosine above ½ with any of W's is an intruder.
    This is `reduce_intruder_dimension` of PEFT 0.21 with its defaults, which does all again for each share; here what
    does not depend on the share is done once.
    """

    name = "intruders"
    label = "Intruders removed"
    citation = "Shuttleworth et al., 2024"
    needs = (
        "two SVDs of every adapted weight, and one more each time where there are intruders; a base in floating point"
    )
    knob = "removed"
    meaning = "the share of each intruder dimension that is removed"
    grid = (0.1, 0.25, 0.5, 1.0)
    most = 1.0

    def prepare(self) -> None:
        """Find the intruders of every layer."""
        model = self.trained.model
        pairs = linear_pairs(model)
        require_floating(model, pairs, self.name)
        found = {pair.layer: self._found(pair) for pair in pairs if pair.layer in self.trained.anchors}
        self._layers = {name: layer for name, layer in found.items() if layer is not None}

    def at(self, knob: float) -> AbstractContextManager[None]:
        """Reduce them."""
        layers = self._layers if knob else {}
        return with_adapter(self.trained.model, {name: _reduced(layer, knob) for name, layer in layers.items()})

    @torch.no_grad()
    def _found(self, pair: LinearPair) -> _Reducible | None:
        weight = base_weight(self.trained.model, pair)
        change = (pair.up.weight @ pair.down.weight).float() * pair.scaling
        own = torch.linalg.svd(weight.float(), full_matrices=False).U
        left, values, right = torch.linalg.svd(weight.float() + change, full_matrices=False)
        new = (left[:, :_LOOKED_AT].T @ own).abs().amax(dim=1) < _UNLIKE
        if not bool(new.any()):
            return None
        places = new.nonzero().flatten()
        intruders = (left[:, places] * values[places]) @ right[places]
        return _Reducible(change, intruders, pair.scaling, pair.down.weight.shape[0])


def _reduced(layer: _Reducible, removed: float) -> tuple[Float[Tensor, "r d_in"], Float[Tensor, "d_out r"]]:
    left, values, right = torch.linalg.svd(
        (layer.change - removed * layer.intruders) / layer.scaling, full_matrices=False
    )
    roots = values[: layer.rank].sqrt()
    return roots[:, None] * right[: layer.rank], left[:, : layer.rank] * roots
