"""Adapters that were loaded for inference, or put in by other ways than PEFT's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model

import lalora
from lalora import LaloraError
from tiny import batches, llama, lora, rows, shake

SOURCE = batches(rows(4), 2)


@pytest.mark.parametrize("kind", ["diagonal", "weight-kfac"])
@pytest.mark.parametrize("settings", [{}, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}], ids=str)
@pytest.mark.filterwarnings("ignore:the penalty leaves")
def test_an_adapter_loaded_for_inference_has_a_forecast(kind: str, settings: dict[str, object], tmp_path: Path) -> None:
    model = lora(**settings)
    laplace = lalora.fit(model, SOURCE, curvature=kind, progress=False)
    shake(model)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), str(tmp_path))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert laplace.forecast(loaded) == pytest.approx(laplace.forecast(model), rel=1e-6)
    assert laplace.forecast(model) > 0
    for use in (lambda: laplace.penalty(loaded), lambda: laplace.add_gradient(loaded, 1.0)):
        with pytest.raises(LaloraError, match="no trainable tensors, so no penalty: load it with is_trainable=True"):
            use()
    assert all(parameter.grad is None for parameter in loaded.parameters())


def test_a_laplace_of_a_base_forecasts_from_its_first_meeting(tmp_path: Path) -> None:
    lora().save_pretrained(tmp_path)
    laplace = lalora.fit(llama(), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    loaded = PeftModel.from_pretrained(llama(), str(tmp_path))
    assert laplace.forecast(loaded) == 0
    with torch.no_grad():
        for name, parameter in loaded.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    assert laplace.forecast(loaded) > 0


def test_an_adapter_of_transformers_own_is_told_apart() -> None:
    model = llama()
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    for options in ({}, {"curvature": "weight-kfac"}):
        with pytest.raises(LaloraError, match="put in by transformers' own add_adapter or load_adapter: give the base"):
            lalora.fit(model, SOURCE, progress=False, **options)
    with pytest.raises(LaloraError, match="this one has one"):
        lalora.fit(model, SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)


def test_another_kind_of_adapter_is_named() -> None:
    model = get_peft_model(llama(), IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
    with pytest.raises(LaloraError, match="its adapter is of kind IA3: lalora serves LoRA adapters only"):
        lalora.fit(model, SOURCE, progress=False)
