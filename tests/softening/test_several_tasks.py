"""Softening after the second task: the base's curvature and the first task's together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

import lalora
from lalora.curvature import WeightKfac
from lalora.softening._naive import minimiser
from lalora.softening._shrinkage import SHARE
from softening.test_front import TARGET, changes
from tiny import batches, llama, lora, rows, shake

GENERAL, FIRST = batches(rows(6), 3), batches(rows(5, seed=3), 3)


def fit(model: torch.nn.Module, **text: Any) -> lalora.Laplace:
    return lalora.fit(model, text, curvature="weight-kfac", target_modules="all-linear", progress=False)


def after_the_first_task() -> LlamaForCausalLM:
    model: LlamaForCausalLM = lora(b_scale=0.1).merge_and_unload()
    return model


def trained(model: LlamaForCausalLM) -> PeftModel:
    torch.manual_seed(4)
    tuned = get_peft_model(model, LoraConfig(r=20, target_modules="all-linear"))
    shake(tuned, 0.1)
    return tuned


def test_without_old_rows_each_layer_is_the_minimiser_of_the_averaged_factors() -> None:
    base = fit(llama(), general=GENERAL)
    model = after_the_first_task()
    first = fit(model, first=FIRST)
    tuned = trained(model)
    before = changes(tuned)
    lalora.soften(tuned, TARGET, base.moved_to(model) + first, progress=False).apply(tuned, 0.7)
    after = changes(tuned)
    shake_back(tuned, model)
    target = lalora.fit(trained(model), {"target": TARGET}, curvature="weight-kfac", progress=False).curvature
    parts = [base.curvature, first.curvature, target]
    assert all(isinstance(part, WeightKfac) for part in parts)
    for layer, change in after.items():
        sides = [[shrunk(getattr(part.factors, side)(layer).dense()) for side in ("g", "x")] for part in parts]  # type: ignore[attr-defined]
        source = [(one + other) / 2 for one, other in zip(*sides[:2], strict=True)]
        wanted = minimiser(before[layer], tuple(sides[2]), (2 * source[0], source[1]), 0.7)  # type: ignore[arg-type]
        assert (change - wanted).norm() <= 2e-3 * wanted.norm()


def shrunk(matrix: torch.Tensor) -> torch.Tensor:
    wide = matrix.double()
    return (1 - SHARE) * wide + SHARE * wide.trace() / len(wide) * torch.eye(len(wide), dtype=torch.float64)


def shake_back(tuned: PeftModel, model: LlamaForCausalLM) -> None:
    assert tuned.unload() is model


def test_with_old_rows_it_is_the_same_at_as_many_times_the_strength() -> None:
    model = after_the_first_task()
    both = fit(model, general=GENERAL) + fit(model, first=FIRST)
    tuned = trained(model)
    added = lalora.soften(tuned, TARGET, both, progress=False)
    together = lalora.soften(tuned, TARGET, source={"general": GENERAL, "first": FIRST}, progress=False)
    # A mean over two names is half of the sum of two tasks.
    found, wanted = added.predict(0.5), together.predict(1.0)
    assert found.target == pytest.approx(wanted.target, rel=1e-4)
    assert found.source == pytest.approx(2 * wanted.source, rel=1e-4)


def test_datasets_that_are_kept_apart_are_averaged_as_those_that_are_not() -> None:
    text = {"general": GENERAL, "first": FIRST}
    fits = [
        lalora.fit(llama(), text, curvature="weight-kfac", target_modules="all-linear", combine=how, progress=False)
        for how in ("mean", "separate")
    ]
    tuned = trained(llama())
    mean, apart = (lalora.soften(tuned, TARGET, one, progress=False).predict(1.0) for one in fits)
    assert apart.source == pytest.approx(mean.source, rel=1e-4)
