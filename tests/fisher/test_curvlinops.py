"""Kronecker factors and what is made of them against curvlinops' KFAC of the merged model, an implementation of others.

curvlinops knows neither masks nor ignored labels, so every row here is shown in full and all have one length T and one
prompt length P: the first P labels are never a target, the other L = T - P are. With n rows the design's counts are
M = n·T positions and N = n·L completion tokens. With `reduction="mean"` the two define the same:

- `expand` is `token`: X = 1/(n·T) Σ x xᵀ over all positions; G = 1/(n·L) Σ g gᵀ, with g of the summed loss, because
  curvlinops multiplies the gradients of a batch's mean loss by the batch's own number of loss terms again.
- `reduce` is `sequence`: the mean of x and the sum of g over the T positions of a row; X = 1/n Σ, G = 1/(n·L) Σ.

With `reduction="sum"` it does not divide by the loss terms: its X is the same, its G is N times lalora's.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

import lalora
from lalora.adapter import linear_pairs, snapshot, trainable_tensors
from tiny import VOCABULARY, Batch, lora, shake

curvlinops = pytest.importorskip("curvlinops", reason="`make test` installs curvlinops")

LENGTH = 9
SIZES = (3, 2)
# The model is float64, but the RMSNorm of transformers takes its input to float32 all the same.
TOLERANCE = 1e-5
APPROXIMATIONS = {"token": "expand", "sequence": "reduce"}
# The whole loss after the first token, and completions shorter than the rows.
prompts = pytest.mark.parametrize("prompt", [1, 4])
estimators = pytest.mark.parametrize("fisher", list(APPROXIMATIONS))


def full_batches(prompt: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    made = []
    for size in SIZES:
        ids = torch.randint(1, VOCABULARY, (size, LENGTH), generator=generator)
        labels = ids.clone()
        labels[:, :prompt] = -100
        made.append({"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)})
    return made


class CompletionLogits(nn.Module):
    """Logits of the completion tokens with the classes in the second dimension, where `CrossEntropyLoss` wants them."""

    def __init__(self, model: nn.Module, prompt: int) -> None:
        super().__init__()
        self.model = model
        self.prompt = prompt

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids).logits[:, self.prompt - 1 : -1].transpose(1, 2)


def kfac_of_others(
    model: PeftModel, fisher: str, prompt: int, reduction: str
) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """The operator over the weights of the adapted layers, in the order of `linear_pairs`, and its factors by layer."""
    layers = [pair.layer for pair in linear_pairs(model)]
    merged = copy.deepcopy(model).merge_and_unload().eval()
    # The merged model has its layers where the adapted one has them below PEFT's two wrappers.
    inside = {layer: layer.removeprefix("base_model.model.") for layer in layers}
    weights = [merged.get_submodule(inside[layer]).weight.requires_grad_() for layer in layers]
    operator = curvlinops.KFACLinearOperator(
        CompletionLogits(merged, prompt),
        nn.CrossEntropyLoss(reduction=reduction),
        weights,
        [(batch["input_ids"], batch["labels"][:, prompt:]) for batch in full_batches(prompt)],
        fisher_type="empirical",
        kfac_approx=APPROXIMATIONS[fisher],
        check_deterministic=False,
    )
    operator.compute_kronecker_factors()
    state = operator.state_dict()
    x, g = (
        {layer: state[which][f"model.{inside[layer]}"] for layer in layers}
        for which in ("input_covariances", "gradient_covariances")
    )
    return operator, x, g


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@prompts
@estimators
@pytest.mark.parametrize("kind", ["weight-kfac", "kfac"])
def test_factors(kind: str, fisher: str, prompt: int, reduction: str) -> None:
    model = lora(dtype=torch.float64, b_scale=0.3)
    _, x, g = kfac_of_others(model, fisher, prompt, reduction)
    laplace = lalora.fit(model, full_batches(prompt), curvature=kind, fisher=fisher, labels="data", progress=False)
    tokens = sum(SIZES) * (LENGTH - prompt)
    scale = {"mean": 1, "sum": tokens}[reduction]
    found = laplace.curvature.factors
    assert set(found.layers) == set(x) and len(x) == 14
    for layer in found.layers:
        assert relative_error(found.x(layer).dense(), x[layer]) <= TOLERANCE, layer
        assert relative_error(found.g(layer).dense() * scale, g[layer]) <= TOLERANCE, layer


@prompts
@estimators
@pytest.mark.parametrize("b_scale", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["kfac", "tri-kfac", "weight-kfac"])
def test_penalty(kind: str, b_scale: float, fisher: str, prompt: int) -> None:
    """½ vec(ΔW)ᵀ K vec(ΔW) by the operator itself pins which factor belongs to which side of ΔW."""
    model = lora(dtype=torch.float64, b_scale=b_scale)
    operator, _, _ = kfac_of_others(model, fisher, prompt, "mean")
    laplace = lalora.fit(model, full_batches(prompt), curvature=kind, fisher=fisher, labels="data", progress=False)
    start = snapshot(model)
    shake(model)
    now = {name: parameter.detach() for name, parameter in trainable_tensors(model).items()}
    by_b, by_a, both = [], [], []
    for pair in linear_pairs(model):
        (a0, b0), (a, b) = ((values[pair.a], values[pair.b]) for values in (start, now))
        by_b.append(pair.scaling * (b - b0) @ a0)
        by_a.append(pair.scaling * b0 @ (a - a0))
        both.append(pair.scaling * (b @ a - b0 @ a0))
    linearised = [one + other for one, other in zip(by_b, by_a, strict=True)]
    changes = {"kfac": [by_b, by_a], "tri-kfac": [linearised], "weight-kfac": [both]}[kind]
    expected = sum(
        (change * curved).sum() / 2 for parts in changes for change, curved in zip(parts, operator @ parts, strict=True)
    )
    assert float(laplace.penalty(model, 1.0).detach()) == pytest.approx(float(expected), rel=TOLERANCE)
