"""Where switching the adapter off does not give the base model, KL is measured against the base itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from lalora import LaloraError
from lalora.methods.kl import KL
from lalora.scoring import score_text
from lalora.switched_off import why_not_base
from lalora.text import sample_text
from tiny import Batch, batches, llama, lora, rows

ITEMS = rows(4)
STARTS: dict[str, dict[str, Any]] = {
    "pissa": {"init_lora_weights": "pissa"},
    "pissa by fast SVD": {"init_lora_weights": "pissa_niter_4"},
    "olora": {"init_lora_weights": "olora"},
    "biases of the adapter": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
}


def moved(settings: dict[str, Any]) -> tuple[nn.Module, PeftModel]:
    """A base model with biases, and the same with an adapter that training has moved."""
    base = llama(attention_bias=True)
    model = get_peft_model(copy.deepcopy(base), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return base, model


def kl_by_hand(base: nn.Module, model: nn.Module, items: list[Batch]) -> float:
    total, tokens = 0.0, 0
    with torch.no_grad():
        for item in items:
            kept = item["labels"][1:] != -100
            p, q = (
                one(input_ids=item["input_ids"][None]).logits[0, :-1][kept].double().log_softmax(-1)
                for one in (base, model)
            )
            total += float((p.exp() * (p - q)).sum())
            tokens += int(kept.sum())
    return total / tokens


@pytest.mark.parametrize("settings", STARTS.values(), ids=STARTS.keys())
def test_the_base_itself_gives_the_right_value(settings: dict[str, Any]) -> None:
    base, model = moved(settings)
    right = kl_by_hand(base, model, ITEMS)
    assert 0 < right < 0.1
    assert score_text(model, batches(ITEMS, 2), base).kl == pytest.approx(right, rel=1e-3)


@pytest.mark.parametrize("settings", STARTS.values(), ids=STARTS.keys())
def test_without_it_the_score_is_refused(settings: dict[str, Any]) -> None:
    _, model = moved(settings)
    with pytest.raises(LaloraError, match="with its adapter switched off this model is not its base model, since"):
        score_text(model, batches(ITEMS, 2))


def test_a_base_that_carries_the_adapter_itself_is_refused() -> None:
    base = llama()
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa"))
    with pytest.raises(LaloraError, match="the base model that is given carries a LoRA adapter"):
        score_text(model, batches(ITEMS, 2), base)


def test_an_adapter_that_is_not_active_has_rewritten_the_base() -> None:
    base = llama()
    untouched = copy.deepcopy(base)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa"))
    model.add_adapter("plain", LoraConfig(r=2, target_modules=["q_proj"]))
    model.set_adapter("plain")
    with pytest.raises(LaloraError, match="since init_lora_weights='pissa' rewrote its base weights"):
        score_text(model, batches(ITEMS, 2))
    right = kl_by_hand(untouched, model, ITEMS)
    assert score_text(model, batches(ITEMS, 2), untouched).kl == pytest.approx(right, rel=1e-3)


def test_layers_that_an_adapter_repeats_are_not_those_of_the_base() -> None:
    base = llama()
    untouched = copy.deepcopy(base)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], layer_replication=[(0, 2), (0, 2)]))
    with pytest.raises(LaloraError, match="since layer_replication repeats its layers"):
        score_text(model, batches(ITEMS, 2))
    right = kl_by_hand(untouched, model, ITEMS)
    assert right > 0.01
    assert score_text(model, batches(ITEMS, 2), untouched).kl == pytest.approx(right, rel=1e-3)


def test_a_weight_that_is_trained_in_place() -> None:
    model = lora()
    model.get_base_model().model.norm.weight.requires_grad_(True)
    assert why_not_base(model) == "'base_model.model.model.norm.weight' is trained in place"


@pytest.mark.parametrize(
    "settings", [{}, {"use_dora": True}, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}]
)
def test_other_adapters_are_switched_off(settings: dict[str, Any]) -> None:
    model = lora(b_scale=0.2, **settings)
    assert why_not_base(model) is None
    assert score_text(model, batches(ITEMS, 2)).kl == pytest.approx(kl_by_hand(llama(), model, ITEMS), rel=1e-3)


def test_text_is_not_written_by_what_is_not_the_base() -> None:
    _, model = moved({"init_lora_weights": "pissa"})
    with pytest.raises(LaloraError, match=r"not its base model, since init_lora_weights='pissa' rewrote"):
        sample_text(model, _Tokens(), rows=1)  # type: ignore[arg-type]


class _Tokens:
    bos_token_id, eos_token_id, pad_token_id = 1, 2, 0


def gradient(model: PeftModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("settings", STARTS.values(), ids=STARTS.keys())
def test_the_kl_method_holds_the_predictions_of_the_start(settings: dict[str, Any]) -> None:
    base = llama(attention_bias=True)
    model = get_peft_model(copy.deepcopy(base), LoraConfig(r=2, target_modules=["q_proj"], **settings))
    method = KL(strength=2.0)
    method.prepare(model, {"a": batches(ITEMS, 4)})
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    method.after_backward(model, 0, 1.0)
    found = gradient(model)
    model.zero_grad()
    loss, tokens = torch.zeros(()), 0
    for item in ITEMS:
        kept = item["labels"][1:] != -100
        q = model(input_ids=item["input_ids"][None]).logits[0, :-1][kept].log_softmax(-1)
        with torch.no_grad():
            p = base(input_ids=item["input_ids"][None]).logits[0, :-1][kept].log_softmax(-1)
        loss, tokens = loss + F.kl_div(q, p, reduction="sum", log_target=True), tokens + int(kept.sum())
    (2.0 * loss / tokens).backward()
    for name, right in gradient(model).items():
        assert (found[name] - right).norm() <= 1e-3 * right.norm(), name
