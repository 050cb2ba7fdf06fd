"""Stage I leaves the model as it came, and says what is wrong with its input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader

import lalora
from lalora import LaloraError
from lalora.next_token import require_next_token
from tiny import VOCABULARY, collate, llama, lora, rows


@pytest.mark.parametrize("settings", [{}, {"use_dora": True, "b_scale": 0.2}], ids=["LoRA", "DoRA"])
def test_the_model_leaves_as_it_came(settings: dict[str, Any]) -> None:
    model = lora(**settings)
    model.train()
    model.get_base_model().model.layers[1].eval()
    for number, parameter in enumerate(model.parameters()):
        if parameter.requires_grad and number % 2:
            parameter.grad = torch.full_like(parameter, 3.0)
    modes = [module.training for module in model.modules()]
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    state = torch.get_rng_state()

    lalora.fit(
        model, DataLoader(rows(6), batch_size=2, shuffle=True, collate_fn=collate), progress=False, curvature="diagonal"
    )

    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert not [module for module in model.modules() if module._forward_hooks]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.grad is grads[name]
        assert parameter.requires_grad == wanted[name]


def test_the_model_leaves_as_it_came_after_an_error() -> None:
    model = lora()
    model.train()
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with pytest.raises(LaloraError):
        lalora.fit(model, [{"input_ids": torch.ones(1, 4, dtype=torch.long)}], progress=False, curvature="diagonal")
    assert model.training
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == wanted
    assert not [module for module in model.modules() if module._forward_hooks]


GOOD = collate(rows(2))
BAD_SOURCES: dict[str, tuple[Any, str]] = {
    "no labels": ([{"input_ids": GOOD["input_ids"]}], "source 'source', batch 1: the batch has no 'labels'"),
    "one batch": (GOOD, "sources\\['input_ids'\\] is a tensor"),
    "not a dict": ([GOOD["input_ids"]], "batch 1: a batch must be a dict"),
    "shapes": ([{**GOOD, "labels": GOOD["labels"][:, 1:]}], "must all be \\(rows, length\\)"),
    "packed": ([{**GOOD, "position_ids": torch.zeros_like(GOOD["input_ids"])}], "rows are packed"),
    "empty": ({"arc": []}, "source 'arc' has no completion token"),
    "no completion": ({"arc": [{**GOOD, "labels": GOOD["labels"] * 0 - 100}]}, "source 'arc' has no completion token"),
    "nothing": ({}, "sources is empty"),
}


@pytest.mark.parametrize(("sources", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES.keys())
def test_bad_sources(sources: Any, message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        lalora.fit(lora(), sources, progress=False, curvature="diagonal")


@pytest.mark.parametrize("option", ["curvature", "fisher", "labels", "combine"])
def test_unknown_option(option: str) -> None:
    with pytest.raises(LaloraError, match=f"{option}='best' is unknown: choose"):
        lalora.fit(lora(), [GOOD], progress=False, **{"curvature": "diagonal", **{option: "best"}})


def test_a_loss_that_is_not_finite_names_dataset_and_batch() -> None:
    model = lora()
    embedding = model.get_base_model().model.embed_tokens.weight
    with torch.no_grad():
        embedding[VOCABULARY - 1] = float("nan")
    bad = {key: value.clone() for key, value in GOOD.items()}
    bad["input_ids"][0, 0] = VOCABULARY - 1
    clean = {**GOOD, "input_ids": GOOD["input_ids"].clamp(max=VOCABULARY - 2)}
    clean["labels"] = clean["labels"].clamp(max=VOCABULARY - 2)
    model.get_base_model().lm_head.weight.data.nan_to_num_(0.0)
    with pytest.raises(LaloraError, match="source 'arc', batch 2: the loss is nan"):
        lalora.fit(model, {"arc": [clean, bad]}, labels="data", progress=False, curvature="diagonal")


def test_a_gradient_that_is_not_finite_names_dataset_and_batch() -> None:
    model = lora(b_scale=0.1)
    handle = model.get_base_model().model.norm.register_full_backward_hook(
        lambda module, grad_input, grad_output: (grad_input[0] * float("inf"),)
    )
    with pytest.raises(LaloraError, match="source 'arc', batch 1: a gradient is not finite"):
        lalora.fit(model, {"arc": [GOOD]}, progress=False, curvature="diagonal")
    handle.remove()


def test_a_merged_adapter() -> None:
    model = lora(b_scale=0.1)
    model.merge_adapter()
    with pytest.raises(LaloraError, match="call unmerge_adapter"):
        lalora.fit(model, [GOOD], progress=False, curvature="diagonal")


def test_nothing_below_the_lowest_adapted_module_is_differentiated() -> None:
    model = lora(target_modules=r".*layers\.1\.mlp\.(up|down)_proj")
    require_next_token(model)  # differentiates all of it, once
    reached = []
    layers = model.get_base_model().model.layers

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
            if output.requires_grad:
                output.register_hook(lambda gradient: reached.append(name))

        return hook

    handles = [layer.mlp.down_proj.register_forward_hook(watch(str(number))) for number, layer in enumerate(layers)] + [
        layers[1].self_attn.o_proj.register_forward_hook(watch("attention of 1"))
    ]
    lalora.fit(model, [GOOD], progress=False, curvature="diagonal")
    for handle in handles:
        handle.remove()
    assert set(reached) == {"1"}


@pytest.mark.parametrize("where", ["adapter", "attention", "embedding", "layer", "a hook on the embedding"])
def test_training_mode_changes_nothing_although_activations_are_checkpointed(where: str) -> None:
    model = lora(b_scale=0.3, lora_dropout=0.5 if where == "adapter" else 0.0)
    plain = lalora.fit(model, [GOOD], progress=False, curvature="diagonal").curvature.tensors()
    inner = model.get_base_model().model
    layer, embedding = inner.layers[0], inner.embed_tokens
    if where == "attention":
        layer.self_attn.attention_dropout = 0.5
    elif where == "embedding":
        inner.embed_tokens = torch.nn.Sequential(embedding, torch.nn.Dropout(0.5))
    elif where == "layer":  # as OPT and BART drop in the layer that checkpoints itself, by a function
        layer.mlp.register_forward_hook(lambda mlp, x, y: torch.nn.functional.dropout(y, 0.5, training=layer.training))
    elif where == "a hook on the embedding":  # as NEFTune
        embedding.register_forward_hook(lambda module, x, y: y + module.training * torch.rand_like(y))
    model.get_base_model().activation_checkpointing_enable()
    model.train()
    again = lalora.fit(model, [GOOD], progress=False, curvature="diagonal").curvature.tensors()
    assert all(torch.equal(again[name], plain[name]) for name in plain)


def test_activations_are_checkpointed_where_the_model_does_so() -> None:
    model = lora(b_scale=0.3)
    lalora.fit(
        model, [GOOD], progress=False, curvature="diagonal"
    )  # the first one also tries whether the model sees the future
    runs: list[bool] = []
    require_next_token(model)
    layer = model.get_base_model().model.layers[0]
    layer.input_layernorm.register_forward_hook(lambda norm, x, y: runs.append(layer.training))
    lalora.fit(model, [GOOD], progress=False, curvature="diagonal")
    once = len(runs)
    runs.clear()
    model.get_base_model().activation_checkpointing_enable()
    model.train()
    lalora.fit(model, [GOOD], progress=False, curvature="diagonal")
    assert len(runs) > once
    assert not any(runs)
    assert layer.training


def test_a_model_without_adapter() -> None:
    with pytest.raises(LaloraError, match="LlamaForCausalLM has no LoRA adapter"):
        lalora.fit(llama(), [GOOD], progress=False, curvature="diagonal")


def test_an_adapter_that_is_not_trainable() -> None:
    model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"], inference_mode=True))
    with pytest.raises(LaloraError, match="no trainable tensors"):
        lalora.fit(model, [GOOD], progress=False, curvature="diagonal")
