"""Models that predict anything but the next token are refused wherever their loss would be taken for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

import lalora
from lalora import LaloraError
from lalora.evaluation import score_loss, score_text
from lalora.methods.kl import KL
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
@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_refused(kind: str) -> None:
    model, message = model_of(kind)
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


def test_a_causal_model_in_bfloat16_is_served() -> None:
    assert lalora.fit(lora(dtype=torch.bfloat16), batches(rows(3), 3), progress=False).curvature.tensors()
