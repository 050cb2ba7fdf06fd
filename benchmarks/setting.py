"""Models with a new adapter, and data for them: a tiny random Llama, and the embedded model with real text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from lalora.assets import load_model, load_tokenizer
from lalora.completion import completion
from lalora.domains import examples, load_domain
from lalora.text import batches, tokenize

MODEL = "smollm2-135m"
SOURCES = ("winogrande", "arc_challenge", "hellaswag")
MAX_LENGTH = 192
VOCABULARY = 256

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Setting:
    """A model, and batches of source text by dataset."""

    name: str
    model: PeftModel
    sources: dict[str, list[Batch]]

    @property
    def batches(self) -> list[Batch]:
        """All batches."""
        return [batch for part in self.sources.values() for batch in part]

    @property
    def positions(self) -> int:
        """Number of positions that the masks show."""
        return sum(int(batch["attention_mask"].sum()) for batch in self.batches)


def real(device: torch.device, targets: str | list[str], rows: int, batch_size: int) -> Setting:
    """Load the embedded model in bfloat16 with a float32 adapter of rank 16, and text of each source."""
    model = adapted(load_model(MODEL, torch.bfloat16).to(device), targets, 16)
    return Setting(MODEL, model, {name: text(name, rows, batch_size, device) for name in SOURCES})


def tiny(device: torch.device, targets: str | list[str]) -> Setting:
    """Make a random Llama of two layers of width 64, and random text."""
    model = adapted(llama(64, 2).to(device), targets, 4)
    return Setting("tiny", model, {"random": [random_batch(4, 32, VOCABULARY, seed, device) for seed in range(3)]})


def llama(width: int, layers: int) -> LlamaForCausalLM:
    """Make a random Llama all of whose adapted layers are width × width."""
    torch.manual_seed(0)
    heads = max(width // 64, 1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=256,
        )
    )


def adapted(base: torch.nn.Module, targets: str | list[str], rank: int) -> PeftModel:
    """Add an adapter with PEFT's default start."""
    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    model.train()
    return model


def random_batch(rows: int, length: int, vocabulary: int, seed: int, device: torch.device) -> Batch:
    """Draw random rows in which every token but the first is completion."""
    ids = torch.randint(vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed)).to(device)
    return {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}


def text(name: str, rows: int, batch_size: int, device: torch.device) -> list[Batch]:
    """Read the first rows of a domain that are short enough."""
    tokenizer = load_tokenizer(MODEL)
    data = load_domain(name)
    items = tokenize(examples(data.domain, data.train[: 4 * rows]), tokenizer)
    short = [item for item in items if len(item["input_ids"]) <= MAX_LENGTH][:rows]
    return [
        {key: tensor.to(device) for key, tensor in batch.items()}
        for batch in batches(short, batch_size, tokenizer.pad_token_id)
    ]


def forward_backward(model: PeftModel, several: Sequence[Batch]) -> None:
    """Run the model over batches and back."""
    for batch in several:
        seen = completion(model, batch)
        cross_entropy(seen.logits, seen.targets).backward()
