"""MiLoRA (Wang et al., 2025, arXiv 2406.09044): start from the minor singular components of the weights."""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor

from lalora.adapter import LinearPair
from lalora.methods._base_weights import base_weight
from lalora.methods._replaced_start import ReplacedStart
from lalora.methods.base import Sources


class Milora(ReplacedStart):
    """Starts from the part of W in its r smallest singular triples.

    With W = UΣVᵀ, B₀ = U_r√Σ_r/√s and A₀ = √Σ_rV_rᵀ/√s. The authors train with s = α/r = 1, where both are theirs, and
    with a learning rate of 3e-4 that falls linearly after 100 steps of warm-up (github.com/sufenlp/MiLoRA, commit
    4740756, `svd_init.py` and `scripts/run_milora.sh`): `alpha` as large as `rank`, and `learning_rate: 3e-4`.
    """

    name = "milora"
    label = "MiLoRA"
    citation = "Wang et al., 2025"
    needs = "an SVD of every adapted weight; these weights twice in memory; plain linear LoRA"

    def choose(self, model: PeftModel, pairs: list[LinearPair], sources: Sources) -> None:
        """Write the minor components into the adapter."""
        for pair in pairs:
            a, b = _minor(base_weight(model, pair), pair)
            pair.down.weight.copy_(a)
            pair.up.weight.copy_(b)


def _minor(weight: Tensor, pair: LinearPair) -> tuple[Tensor, Tensor]:
    """Return A₀ and B₀ from the r smallest singular triples."""
    rank = pair.down.weight.shape[0]
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    roots = (values[-rank:] / pair.scaling).sqrt()
    return roots[:, None] * right[-rank:], left[:, -rank:] * roots
