"""The Laplace of a base model whose weights were trained on since."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

import lalora
from lalora import LaloraError
from tiny import batches, llama, lora, rows, shake

SOURCE, TASK = batches(rows(6), 3), batches(rows(5, seed=9), 3)


def fit(model: torch.nn.Module, text: object = SOURCE) -> lalora.Laplace:
    return lalora.fit(model, {"text": text}, curvature="weight-kfac", target_modules="all-linear", progress=False)


def merged(b_scale: float = 0.03) -> LlamaForCausalLM:
    model: LlamaForCausalLM = lora(b_scale=b_scale).merge_and_unload()
    return model


def adapted(model: LlamaForCausalLM) -> PeftModel:
    return get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))


def test_a_merged_adapter_is_told_of_and_named_it_is_not() -> None:
    laplace, model = fit(llama()), merged()
    moved = laplace.moved_to(model)
    tuned = adapted(model)
    moved.check(tuned)
    with pytest.warns(UserWarning, match=r"has moved by .*%\. If an adapter was merged in.*moved_to\(model\)"):
        laplace.forecast(tuned)
    shake(tuned)
    # The curvature is the one that was fitted, around where the model is now.
    assert moved.forecast(tuned) == laplace.forecast(tuned) > 0
    with pytest.warns(UserWarning, match="is not as it was"):
        moved.check(adapted(llama()))


def test_a_base_that_moved_far_is_refused_until_it_is_named() -> None:
    laplace, model = fit(llama()), merged(b_scale=0.2)
    with pytest.raises(LaloraError, match="the model here is another: the weight of"):
        laplace.check(adapted(merged(b_scale=0.2)))
    tuned = adapted(model)
    laplace.moved_to(tuned).check(tuned)


def test_what_was_not_trained_from_it_is_refused() -> None:
    laplace = fit(llama())
    with pytest.raises(LaloraError, match="its weights are not those of the fit after some training"):
        laplace.moved_to(llama(seed=5))
    with pytest.raises(LaloraError, match="no module 'base_model.model.model.layers.1"):
        laplace.moved_to(llama(num_hidden_layers=1))
    with pytest.raises(LaloraError, match="a Laplace of an adapter ends with it"):
        lalora.fit(lora(), SOURCE, progress=False).moved_to(llama())


def test_two_tasks_add_up_in_files(tmp_path: Path) -> None:
    base, model = fit(llama()), merged()
    later = fit(model, TASK)
    (base.moved_to(model) + later).save(tmp_path)
    both, tuned = lalora.Laplace.load(tmp_path), adapted(model)
    singles = [base.moved_to(model), later]
    assert [one.forecast(tuned) for one in singles] == [0, 0]
    both.check(tuned)
    shake(tuned)
    wanted = sum(float(one.penalty(tuned).detach()) for one in singles)
    assert float(both.penalty(tuned).detach()) == pytest.approx(wanted, rel=1e-5)
    assert both.provenance.tasks == 2
