"""EWC-LoRA (Zheng et al., 2026, arXiv 2602.17559): elastic weight consolidation over what the adapter does to W."""

from __future__ import annotations

from lalora.curvature import WeightDiagonal
from lalora.methods.lalora import LaLoRA


class EwcLora(LaLoRA):
    """LaLoRA with `weight-diagonal`: target loss + λ·½ΣF∘ΔW², F the diagonal Fisher of the merged weights.

    Elastic weight consolidation itself is Kirkpatrick et al. (2017). By default F is estimated as for LaLoRA: by
    sequence, with labels drawn from the model. `fisher: batch`, `labels: data`, `combine: sum` is the F of the authors'
    published code (github.com/yaoyz96/low-rank-cl, commit d007ef5, `methods/ewclora.py`): the squared gradient of a
    mini-batch's mean loss on ΔW with the labels of the data, averaged over mini-batches and, with its γ of 1, added up
    over tasks. It weighs a mini-batch by its rows, and this one weighs all alike, which differs where the last one of a
    source is smaller. That code estimates F where each task's training ended, and here the sources have no training of
    their own, so that it is estimated at the start.
    """

    name = "ewc-lora"
    label = "EWC-LoRA"
    citation = "Zheng et al., 2026"
    needs = "a fit on source text; as much memory as the adapted weights"
    grid = (100.0, 1000.0, 10000.0)
    # A diagonal has no factors.
    fixed = {"curvature": WeightDiagonal.kind, "factor_rank": None, "factor_keep": None}  # ruff: ignore[mutable-class-default]
