"""LiNeS (Wang et al., 2024, arXiv 2410.17146): early blocks go further back to the base than late ones."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import nn

from lalora.adapter import lora_layers
from lalora.posthoc.base import Rival
from lalora.softening import scaled_by


class Lines(Rival):
    """Scales the change of block l of L by α + (1 − α)·(l − 1)/(L − 1), so that the last block keeps all of it.

    This is what the authors' code does for a single task (`LiNeS_scaling` in github.com/wang-kee/LiNeS, commit
    43a7bdd): what lies outside of the numbered blocks is scaled by α, and L counts all blocks of the model.
    """

    name = "lines"
    label = "LiNeS"
    citation = "Wang et al., 2024"
    needs = "nothing"
    knob = "α"
    meaning = "the factor of the first block and of what lies outside of the blocks"
    grid = (0.875, 0.75, 0.5, 0.25, 0.0)
    adapter = 1.0
    most = 1.0

    def at(self, knob: float) -> AbstractContextManager[None]:
        """Scale every layer by its depth."""
        model = self.trained.model
        return scaled_by(model, {name: factor(model, name, knob) for name in lora_layers(model)})


def factor(model: nn.Module, layer: str, alpha: float) -> float:
    """Compute α + (1 − α)·(l − 1)/(L − 1) of the block that a layer lies in; α where it lies in none."""
    parts = layer.split(".")
    place = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
    if place is None:
        return alpha
    blocks = len(list(model.get_submodule(".".join(parts[:place])).children()))
    # A single block is the last one.
    return alpha + (1 - alpha) * (int(parts[place]) / (blocks - 1) if blocks > 1 else 1.0)
