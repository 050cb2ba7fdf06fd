"""Models that predict anything but the next token are refused wherever their loss would be taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

import lalora
from lalora import LaloraError
from lalora.assets import load_model
from lalora.methods.kl import KL
from lalora.next_token import require_next_token
from lalora.scoring import score_loss, score_text
from tiny import VOCABULARY, batches, lora, rows

BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 32,
}
LLAMA = {**BERT, "num_key_value_heads": 2}
T5 = {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 20, "num_layers": 1, "num_heads": 2}
BART = {
    "vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_position_embeddings": 32,
}  # fmt: skip
OTHERS: dict[str, tuple[str, str, dict[str, Any], list[str], str]] = {
    "masked": ("BertForMaskedLM", "BertConfig", BERT, ["query"], "no causal language model"),
    "sees the future": ("BertLMHeadModel", "BertConfig", BERT, ["query"], "sees tokens that come later"),
    "roberta": ("RobertaForCausalLM", "RobertaConfig", BERT, ["query"], "sees tokens that come later"),
    "sequence classes": ("LlamaForSequenceClassification", "LlamaConfig", LLAMA, ["q_proj"], "no causal language"),
    "token classes": ("LlamaForTokenClassification", "LlamaConfig", LLAMA, ["q_proj"], "no causal language model"),
    "no head": ("LlamaModel", "LlamaConfig", LLAMA, ["q_proj"], "no causal language model"),
    "encoder-decoder": ("T5ForConditionalGeneration", "T5Config", T5, ["q"], "an encoder–decoder"),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART, ["q_proj"], "an encoder–decoder"),
}


def model_of(kind: str) -> tuple[nn.Module, str]:
    name, config, settings, targets, message = OTHERS[kind]
    torch.manual_seed(0)
    base = getattr(transformers, name)(getattr(transformers, config)(**settings))
    return get_peft_model(base, LoraConfig(r=2, target_modules=targets)), message


@pytest.mark.filterwarnings("ignore:If you want to use")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_refused(kind: str, dtype: torch.dtype) -> None:
    model, message = model_of(kind)
    model.to(dtype)
    data = batches(rows(3), 3)
    for use in (
        lambda: lalora.fit(model, data, progress=False),
        lambda: score_text(model, data),
        lambda: score_loss(model, data),
        lambda: KL().prepare(model, {"a": data}),
    ):
        with pytest.raises(LaloraError, match=message):
            use()


DECODERS = {
    "bert as a decoder": ("BertLMHeadModel", "BertConfig", {**BERT, "is_decoder": True}, ["query"]),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 16, "n_head": 2, "n_layer": 1},
        ["c_attn"],
    ),
    "bart's decoder": ("BartForCausalLM", "BartConfig", BART, r".*self_attn.q_proj"),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**LLAMA, "head_dim": 8}, ["q_proj"]),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 1},
        ["in_proj"],
    ),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        {**LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
        ["q_proj"],
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", DECODERS)
def test_causal_models_are_served(kind: str) -> None:
    name, config, settings, targets = DECODERS[kind]
    torch.manual_seed(0)
    base = getattr(transformers, name)(getattr(transformers, config)(**settings))
    model = get_peft_model(base, LoraConfig(r=2, target_modules=targets))
    assert lalora.fit(model, batches(rows(3), 3), progress=False).curvature.tensors()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GPTNeoXForCausalLM", BERT),
        ("OPTForCausalLM", {**BERT, "ffn_dim": 20, "word_embed_proj_dim": 16}),
        ("MistralForCausalLM", {**LLAMA, "sliding_window": 2}),
        ("MixtralForCausalLM", {**LLAMA, "intermediate_size": 32, "num_local_experts": 3}),
        ("Qwen2ForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    ],
)
def test_no_precision_is_taken_for_a_look_ahead(
    name: str, settings: dict[str, Any], dtype: torch.dtype, attention: str
) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, name.replace("ForCausalLM", "Config"))(**settings)
    base = getattr(transformers, name)(config).to(dtype)
    base.set_attn_implementation(attention)
    require_next_token(base)


def test_a_decoder_that_was_made_bidirectional() -> None:
    """As models for embeddings are."""
    model = lora()
    for layer in model.get_base_model().model.layers:
        layer.self_attn.is_causal = False
        attend = layer.self_attn.forward
        layer.self_attn.forward = lambda *given, attend=attend, **named: attend(
            *given, **{**named, "attention_mask": None}
        )
    one_token = {"input_ids": [[3], [4]], "labels": [[3], [4]]}
    for data in ([one_token], batches(rows(3), 3)):
        with pytest.raises(LaloraError, match="LlamaForCausalLM sees tokens that come later"):
            lalora.fit(model, data, progress=False)
        with pytest.raises(LaloraError, match="LlamaForCausalLM sees tokens that come later"):
            score_text(model, data)


@pytest.mark.filterwarnings("ignore:If you want to use")
def test_the_command_line_loads_no_encoder(tmp_path: Path) -> None:
    transformers.BertLMHeadModel(transformers.BertConfig(**BERT)).save_pretrained(tmp_path)
    with pytest.raises(LaloraError, match="BertLMHeadModel sees tokens that come later"):
        load_model(str(tmp_path), torch.float32)


def test_a_model_is_tried_once_and_leaves_as_it_came() -> None:
    model = lora(lora_dropout=0.5)
    model.train()
    runs: list[int] = []
    handle = model.get_base_model().model.register_forward_hook(lambda *_: runs.append(1))
    for _ in range(3):
        require_next_token(model)
    handle.remove()
    assert len(runs) == 1
    assert all(module.training for module in model.modules())
    assert not [module for module in model.modules() if module._forward_hooks]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_logits_that_cannot_be_differentiated() -> None:
    model = lora()
    model.get_base_model().lm_head.register_forward_hook(lambda head, x, logits: logits.detach())
    with pytest.raises(LaloraError, match="LlamaForCausalLM has logits that cannot be differentiated"):
        lalora.fit(model, batches(rows(3), 3), progress=False)


def test_a_causal_model_in_bfloat16_is_served() -> None:
    assert lalora.fit(lora(dtype=torch.bfloat16), batches(rows(3), 3), progress=False).curvature.tensors()
