"""Weights that are not there are not random: models and adapters whose files do not fit their settings are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from lalora import LaloraError
from lalora.assets import load_adapter, load_model
from tiny import llama, lora

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def rewritten(file: Path, change: Change) -> None:
    tensors = change(safetensors.torch.load_file(file))
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})


def configured(folder: Path, file: str = "config.json", **changes: Any) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without(part: str) -> Change:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def besides(name: str, *shape: int) -> Change:
    return lambda tensors: {**tensors, name: torch.ones(shape)}


def reshaped(part: str) -> Change:
    return lambda tensors: {name: (t[:-1].clone() if part in name else t) for name, t in tensors.items()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    llama().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "more layers": (
        lambda folder: configured(folder, num_hidden_layers=3), r"lacks the weight 'model\.layers\.2\..*and 8 more",
    ),
    "fewer layers": (
        lambda folder: configured(folder, num_hidden_layers=1), r"has besides the weight 'model\.layers\.1\.",
    ),
    "a missing weight": (
        lambda folder: rewritten(folder / "model.safetensors", without("layers.1.mlp.up_proj")),
        r"lacks the weight 'model\.layers\.1\.mlp\.up_proj\.weight', so its files do not fit",
    ),
    "another shape": (
        lambda folder: rewritten(folder / "model.safetensors", reshaped("layers.1.mlp.up_proj")),
        r"has, in another shape, the weight 'model\.layers\.1\.mlp\.up_proj",
    ),
    "biases that its configuration leaves out": (
        lambda folder: rewritten(folder / "model.safetensors", besides("model.layers.1.self_attn.q_proj.bias", 16)),
        r"has besides the weight 'model\.layers\.1\.self_attn\.q_proj\.bias', so its files do not fit",
    ),
    "norms that its architecture leaves out": (
        lambda folder: rewritten(folder / "model.safetensors", besides("model.layers.1.self_attn.q_norm.weight", 4)),
        r"has besides the weight 'model\.layers\.1\.self_attn\.q_norm\.weight'",
    ),
    "scales of a quantisation that is not configured": (
        lambda folder: rewritten(folder / "model.safetensors", besides("model.layers.1.mlp.up_proj.weight_scale", 20)),
        r"has besides the weight 'model\.layers\.1\.mlp\.up_proj\.weight_scale'",
    ),
    "no head": (
        lambda folder: rewritten(folder / "model.safetensors", without("lm_head")), "lacks the weight 'lm_head",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), MODELS.values(), ids=MODELS.keys())
def test_a_model_is_refused(model: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(model)
    with pytest.raises(LaloraError, match=message) as caught:
        load_model(str(model), torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "v_head.summary.weight", "visual.blocks.0.norm.weight"]
)
def test_what_a_model_of_text_does_not_need_is_harmless(model: Path, name: str) -> None:
    rewritten(model / "model.safetensors", besides(name, 2))
    ids = torch.arange(8)[None]
    assert torch.equal(load_model(str(model), torch.float32)(input_ids=ids).logits, llama()(input_ids=ids).logits)


@pytest.mark.parametrize("kind", ["bias", "masked_bias"])
def test_masks_that_old_files_keep_are_harmless(kind: str, tmp_path: Path) -> None:
    config = GPT2Config(
        vocab_size=31, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    rewritten(tmp_path / "model.safetensors", besides(f"transformer.h.0.attn.{kind}", 1))
    load_model(str(tmp_path), torch.float32)


def test_tied_weights_are_no_missing_ones(tmp_path: Path) -> None:
    llama(tie_word_embeddings=True).save_pretrained(tmp_path)
    assert "lm_head.weight" not in safetensors.torch.load_file(tmp_path / "model.safetensors")
    load_model(str(tmp_path), torch.float32)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    lora(b_scale=0.2).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
UP = f"{PREFIX}model.layers.0.mlp.up_proj"
ADAPTERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a missing tensor": (
        lambda folder: rewritten(folder / WEIGHTS, without("layers.1.mlp.up_proj.lora_B")),
        r"lacks '.*layers\.1\.mlp\.up_proj\.lora_B\.weight', which its settings name",
    ),
    "a tensor too much": (
        lambda folder: configured(folder, SETTINGS, target_modules=["q_proj"]),
        r"has '.*' and \d+ more, which do not fit its settings",
    ),
    "another rank": (
        lambda folder: configured(folder, SETTINGS, r=5),
        r"is no adapter of tiny: .*size mismatch for .*copying a param with shape",
    ),
    "weights of the base": (
        lambda folder: rewritten(folder / WEIGHTS, besides(f"{UP}.base_layer.weight", 20, 16)),
        r"has '.*up_proj\.base_layer\.weight', not as in tiny and not named in modules_to_save",
    ),
    "weights of no layer": (
        lambda folder: rewritten(
            folder / WEIGHTS, besides(f"{PREFIX}model.layers.0.mlp.gate.weight", 16)
        ),
        r"has '.*mlp\.gate\.weight', not as in tiny",
    ),
    "a head that its settings leave out": (
        lambda folder: rewritten(
            folder / WEIGHTS, besides(f"{PREFIX}lm_head.weight", 31, 16)
        ),
        r"has '.*lm_head\.weight', not as in tiny and not named in modules_to_save: an adapter leaves its base",
    ),
    "a number that is none": (
        lambda folder: rewritten(
            folder / WEIGHTS, lambda tensors: {name: tensor * float("nan") for name, tensor in tensors.items()}
        ),
        r"holds '.*lora_A\.weight' and \d+ more, which is not finite",
    ),
    "cut": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-7]), "is no adapter of tiny",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "adapter_model.safetensors is missing"),
    "no settings": (lambda folder: (folder / SETTINGS).unlink(), "adapter_config.json is missing"),
    "no JSON": (lambda folder: (folder / SETTINGS).write_text("{"), "adapter_config.json is not JSON"),
    "a list": (lambda folder: (folder / SETTINGS).write_text("[]"), "holds no settings of an adapter"),
    "deep": (lambda folder: (folder / SETTINGS).write_text("[" * 200_000), "is not JSON"),
    "large": (lambda folder: (folder / SETTINGS).write_text(" " * 2_000_000), "is too large"),
    "a rank in words": (lambda folder: configured(folder, SETTINGS, r="many"), "r is .many. .Input should be"),
    "a wild pattern": (
        lambda folder: configured(folder, SETTINGS, target_modules="(?:(?:.|..)*)*[A-Z]"), "takes too long to match",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize(("damage", "message"), ADAPTERS.values(), ids=ADAPTERS.keys())
def test_an_adapter_is_refused(adapter: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(adapter)
    with pytest.raises(LaloraError, match=message) as caught:
        load_adapter(llama(), adapter, "tiny")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
        LoHaConfig(r=2, target_modules=["q_proj"]),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    ],
    ids=["IA3", "LOHA", "PROMPT_TUNING"],
)
def test_another_kind_of_adapter_gets_advice(config: Any, tmp_path: Path) -> None:
    get_peft_model(llama(), config).save_pretrained(tmp_path)
    with pytest.raises(LaloraError, match=f"is an adapter of kind '{config.peft_type.value}': lalora serves LoRA"):
        load_adapter(llama(), tmp_path, "tiny")


SOUND: dict[str, dict[str, Any]] = {
    "plain": {},
    "expression": {"target_modules": r".*\.(q|v)_proj"},
    "ranks": {"rank_pattern": {r"layers\.1\.self_attn\.q_proj": 5}, "alpha_pattern": {"v_proj": 3}},
    "DoRA": {"use_dora": True},
    "saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "new rows": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2]},
    "biases": {"bias": "all", "target_modules": ["q_proj"]},
}


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers")
@pytest.mark.parametrize("settings", SOUND.values(), ids=SOUND.keys())
def test_sound_adapters_are_loaded_to_the_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    base = llama(attention_bias="bias" in settings)
    saved = get_peft_model(base, LoraConfig(**{"r": 3, "target_modules": "all-linear", **settings}))
    with torch.no_grad():
        for parameter in saved.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    saved.save_pretrained(tmp_path)
    loaded = load_adapter(llama(attention_bias="bias" in settings), tmp_path, "tiny")
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(input_ids=ids).logits, saved.eval()(input_ids=ids).logits)
