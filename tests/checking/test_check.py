"""`lalora.check`: the verdict, the layers and the tokenizer, against what PEFT and the model itself say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertLMHeadModel, MixtralConfig, MixtralForCausalLM

import lalora
from lalora import LaloraError
from tiny import VOCABULARY, batches, llama, lora, rows, tokenizer

ASKS = "{% if add_generation_prompt %} assistant {% endif %}"
MARKED = (
    "{% for m in messages %}{{ m.role }} {% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}" + ASKS
)
APART = "{% for m in messages %} {{ m.role }} {{ m.content }}{% endfor %}" + ASKS
REWRITTEN = "{{ messages | length }} a {% for m in messages %}{{ m.content }}{% endfor %}"


def test_the_layers_are_those_that_peft_adapts() -> None:
    found = lalora.check(llama(), tokenizer())
    assert found.works
    assert str(found).splitlines()[0] == "unnamed: works; a fit listens to 14 layers"
    layers = found.layers
    assert layers is not None
    adapted = get_peft_model(llama(), LoraConfig(r=layers.rank, target_modules="all-linear"))
    assert layers.adapter_weights == sum(one.numel() for one in adapted.parameters() if one.requires_grad)
    inside = [one for one in llama().model.modules() if isinstance(one, nn.Linear)]
    assert (layers.count, layers.weights) == (len(inside), sum(one.weight.numel() for one in inside))
    assert [group.name for group in layers.left_out] == ["model.embed_tokens", "lm_head"]
    assert json.loads(json.dumps(found.document()))["layers"]["adapter_weights"] == layers.adapter_weights


def test_kronecker_factors_are_not_larger_than_told() -> None:
    layers = lalora.check(llama(), tokenizer()).layers
    assert layers is not None
    # More positions than any layer is wide, so that no factor is smaller for want of rows.
    laplace = lalora.fit(
        llama(), batches(rows(20), 4), curvature="weight-kfac", target_modules="all-linear", progress=False
    )
    kept = sum(4 * tensor.numel() for tensor in laplace.curvature.tensors().values())
    assert 0.3 * layers.factor_bytes < kept <= layers.factor_bytes


def test_only_the_chosen_layers_are_listened_to() -> None:
    layers = lalora.check(llama(), tokenizer(), target_modules=["q_proj"]).layers
    assert layers is not None
    assert [str(group) for group in layers.heard] == ["2 × model.layers.*.self_attn.q_proj (Linear, 16×16)"]
    assert {group.why for group in layers.left_out if group.name.endswith("v_proj")} == {"not among target_modules"}
    with pytest.raises(LaloraError, match="nowhere"):
        lalora.check(llama(), tokenizer(), target_modules=["nowhere"])


def test_tied_heads_and_experts_are_left_out_with_the_reason() -> None:
    tied = lalora.check(llama(tie_word_embeddings=True), tokenizer()).layers
    assert tied is not None
    assert tied.left_out[-1].why == "the output head, tied to the input embeddings"
    settings = {"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 3}
    torch.manual_seed(0)
    config = MixtralConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=20, pad_token_id=0, **settings)
    found = lalora.check(MixtralForCausalLM(config), tokenizer())
    assert found.layers is not None
    experts = [group for group in found.layers.left_out if len(group.shape) == 3]
    assert experts
    assert all("experts without modules of their own" in group.why for group in experts)
    # PEFT's all-linear adapts the router, which is no linear layer, and leaves the experts.
    by_name = {one.what: one for one in found.fits}
    assert "mlp.gate.lora_A" in by_name["kfac, tri-kfac"].refused
    assert str(found).splitlines()[0].startswith("unnamed: works but for curvature kfac, tri-kfac: 'kfac' serves")
    assert "mlp.gate' and 4 more free" in by_name["weight-… of the base model"].notes[0]


def test_an_adapter_that_a_curvature_cannot_serve_is_told_with_what_can() -> None:
    torch.manual_seed(0)
    model = get_peft_model(llama(), LoraConfig(r=3, target_modules=["q_proj", "embed_tokens"]))
    found = lalora.check(model, tokenizer())
    by_name = {one.what: one for one in found.fits}
    assert not found.works
    assert str(found).splitlines()[0].startswith("unnamed: works but for curvature kfac")
    assert "'kfac' serves plain linear LoRA layers only" in by_name["kfac, tri-kfac"].refused
    assert not by_name["diagonal"].refused
    assert not by_name["weight-kfac, weight-diagonal"].refused
    assert any("embed_tokens" in note for note in by_name["weight-kfac, weight-diagonal"].notes)
    assert found.layers is not None
    assert found.layers.rank == 3


def test_an_encoder_is_refused_in_the_first_line() -> None:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    found = lalora.check(BertLMHeadModel(BertConfig(vocab_size=VOCABULARY, **small)), tokenizer())
    assert not found.works
    assert found.layers is None
    assert "sees tokens that come later" in str(found).splitlines()[0]
    assert json.loads(json.dumps(found.document()))["works"] is False


def test_weights_that_are_not_in_memory_are_told() -> None:
    model = llama()
    model.model.layers[1].mlp.up_proj.weight = nn.Parameter(torch.empty(20, 16, device="meta"))
    with pytest.raises(LaloraError, match=r"layers.1.mlp.up_proj' is not in memory \(offloaded\)"):
        lalora.check(model, tokenizer())


class Packed(nn.Module):
    """Keeps its weight under a name of its own, as layers of several quantisations do."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("qweight", linear.weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.get_buffer("qweight").T


def packed() -> Any:
    model = lora(target_modules=["q_proj"])
    for layer in model.get_base_model().model.layers:
        layer.self_attn.q_proj.base_layer = Packed(layer.self_attn.q_proj.base_layer)
    return model


def test_packed_weights_are_counted_by_what_they_stand_for() -> None:
    found = lalora.check(packed(), tokenizer())
    assert found.works
    assert found.layers is not None
    assert str(found.layers.heard[0]) == "2 × model.layers.*.self_attn.q_proj (Packed, 16×16)"
    assert found.layers.adapter_weights == 2 * 3 * (16 + 16)


def test_weights_are_looked_at_before_a_forward_pass_repacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    monkeypatch.setattr("lalora.checking._check.fingerprint", lambda model, layers: events.append("look"))
    model = llama()
    model.register_forward_pre_hook(lambda module, inputs: events.append("pass"))
    assert lalora.check(model, tokenizer()).works
    assert events[0] == "look"
    assert "pass" in events


def test_weights_that_cannot_be_read_are_refused_by_name() -> None:
    model = packed()
    del model.get_base_model().model.layers[1].self_attn.q_proj.base_layer.in_features
    found = lalora.check(model, tokenizer())
    assert not found.works
    assert "layers.1.self_attn.q_proj' cannot be read (Packed)" in str(found).splitlines()[0]


def test_a_tokenizer_of_another_model_is_refused() -> None:
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": [f"<{n}>" for n in range(3)]})
    assert lalora.check(llama(), words).works  # what was added is never drawn


@pytest.mark.parametrize(
    ("template", "answers"), [(MARKED, "marked"), (APART, "told apart"), (REWRITTEN, "all"), (None, "")]
)
def test_what_a_tokenizer_does_to_a_conversation(template: str | None, answers: str) -> None:
    words = tokenizer()
    words.chat_template = template
    tokens = lalora.check(llama(), words).tokens
    assert tokens.answers == answers
    assert tokens.chat_template == (template is not None)
    assert (tokens.pad, tokens.pad_is_end, tokens.padding_side) == ("<pad>", True, "right")


def state(model: Any) -> dict[str, Any]:
    kept = {
        name: (id(one), one.dtype, one.requires_grad, one.grad, one.detach().clone())
        for name, one in model.named_parameters()
    }
    modes = {name: (one.training, dict(one._forward_hooks)) for name, one in model.named_modules()}
    return {"parameters": kept, "modes": modes, "attention": model.config._attn_implementation}


@pytest.mark.parametrize("make", [llama, lambda: llama(dtype=torch.bfloat16), lambda: lora(b_scale=0.3)])
def test_the_model_is_left_unchanged(make: Any) -> None:
    model = make().train()
    # Differs in a padded batch, so that every way to find the fault is gone through.
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output * output.shape[1] if output.shape[1] > 5 else output
    )
    before, random = state(model), torch.get_rng_state()
    assert not lalora.check(model, tokenizer()).works
    after = state(model)
    assert before["modes"] == after["modes"]
    assert before["attention"] == after["attention"]
    for name, (*facts, values) in before["parameters"].items():
        assert facts == list(after["parameters"][name][:-1]), name
        assert torch.equal(values, after["parameters"][name][-1])
    assert torch.equal(random, torch.get_rng_state())
    handle.remove()
