"""A tiny random Llama with a LoRA adapter, and batches for it."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 31

Batch = dict[str, Tensor]


def llama(seed: int = 0, dtype: torch.dtype = torch.float32, **settings: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "initializer_range": 0.3,
            "pad_token_id": 0,
            **settings,
        }
    )
    return LlamaForCausalLM(config).to(dtype)


def lora(seed: int = 0, dtype: torch.dtype = torch.float32, *, b_scale: float = 0.0, **settings: Any) -> PeftModel:
    """A tiny Llama with an adapter; `b_scale` moves it away from B = 0."""
    base = llama(seed, dtype)
    config = LoraConfig(**{"r": 3, "lora_alpha": 6, "target_modules": "all-linear", **settings})
    model = get_peft_model(base, config).to(dtype)
    torch.manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * b_scale)
            elif parameter.requires_grad and b_scale and "magnitude" in name:
                parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
    return model


def rows(count: int, seed: int = 0, longest: int = 12) -> list[Batch]:
    """Rows of unequal length, each with a prompt that carries no loss."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(5, longest + 1, (1,), generator=generator))
        ids = torch.randint(1, VOCABULARY, (length,), generator=generator)
        labels = ids.clone()
        labels[: int(torch.randint(1, length - 2, (1,), generator=generator))] = -100
        made.append({"input_ids": ids, "labels": labels})
    return made


def collate(items: list[Batch], left: bool = False) -> Batch:
    longest = max(len(item["input_ids"]) for item in items)

    def padded(values: Tensor, fill: int) -> Tensor:
        padding = values.new_full((longest - len(values),), fill)
        return torch.cat([padding, values] if left else [values, padding])

    return {
        "input_ids": torch.stack([padded(item["input_ids"], 0) for item in items]),
        "labels": torch.stack([padded(item["labels"], -100) for item in items]),
        "attention_mask": torch.stack([padded(torch.ones_like(item["input_ids"]), 0) for item in items]),
    }


def batches(items: list[Batch], size: int) -> list[Batch]:
    return [collate(items[start : start + size]) for start in range(0, len(items), size)]


def shake(model: torch.nn.Module, scale: float = 0.1, seed: int = 7) -> None:
    """Move every trainable tensor by Gaussian noise."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * scale)


def tokenizer() -> PreTrainedTokenizerFast:
    """Thirty-one words, split at spaces; 0 pads and ends."""
    words = ["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "0", "1", "2"]
    inner = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<pad>", unk_token="<unk>")
