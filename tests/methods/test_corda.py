"""CorDA's start, made by PEFT, against its formula in float64."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora import LaloraError, methods
from lalora.adapter import linear_pairs
from lalora.methods.kl import kl_to_base
from tiny import batches, llama, lora, rows, shake

ROWS = rows(4)
BATCH = batches(ROWS, 4)[0]
TEXT = {name: BATCH[name] for name in ("input_ids", "attention_mask")}
SOURCES = {"arc": batches(ROWS[:3], 2), "hellaswag": batches(ROWS[3:], 1)}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(**TEXT).logits


def prepared(sources: dict[str, list[dict[str, Tensor]]]) -> tuple[PeftModel, methods.Method]:
    model = lora().eval()
    method = methods.build("corda")
    method.prepare(model, sources)
    return model, method


def covariances() -> dict[str, Tensor]:
    """C of every linear layer: each row by itself, without padding, over its largest entry."""
    base = llama().eval()
    found: dict[str, Tensor] = {}

    def listen(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0][0].double() / inputs[0].max().abs()
            found[name] = found.get(name, 0) + x.T @ x

        base.get_submodule(name).register_forward_hook(hook)

    for name, module in base.named_modules():
        if isinstance(module, nn.Linear):
            listen(name)
    for ids, shown in zip(BATCH["input_ids"], BATCH["attention_mask"].bool(), strict=True):
        with torch.no_grad():
            base(ids[shown][None])
    return {name: total / len(ROWS) for name, total in found.items()}


def test_it_starts_as_the_base_in_what_matters_least_on_the_sources() -> None:
    model, _ = prepared(SOURCES)
    assert (logits(model) - logits(llama().eval())).abs().max() <= 1e-4
    found = covariances()
    base = dict(llama().named_modules())
    for pair in linear_pairs(model):
        name = pair.layer.removeprefix("base_model.model.")
        weight = base[name].weight.detach().double()
        damp = 0.01 * found[name].diagonal().mean()
        covariance = found[name] + damp * torch.eye(len(found[name]))
        left, values, right = torch.linalg.svd(weight @ covariance, full_matrices=False)
        rank = pair.down.weight.shape[0]
        expected = (left[:, -rank:] * values[-rank:]) @ right[-rank:] @ torch.linalg.inv(covariance)
        ours = pair.scaling * (pair.up.weight @ pair.down.weight).detach()
        assert (ours - expected).norm() <= 1e-2 * expected.norm()
        rest = model.get_submodule(pair.layer).get_base_layer().weight.detach()
        assert (rest + ours - weight).norm() <= 1e-5 * weight.norm()


def test_the_base_stays_within_reach_and_the_adapter_loads_on_it(tmp_path: Path) -> None:
    model, method = prepared(SOURCES)
    shake(model)
    assert kl_to_base(model, BATCH).item() > 1e-3
    with model.disable_adapter():
        assert (logits(model) - logits(llama().eval())).abs().max() <= 1e-4
    method.save_adapter(model, tmp_path)
    loaded = PeftModel.from_pretrained(llama(), str(tmp_path)).eval()
    assert (logits(loaded) - logits(model)).abs().max() <= 1e-4


def test_it_leaves_the_modes_and_nothing_of_pefts_on_the_model() -> None:
    model = lora().train()
    methods.build("corda").prepare(model, SOURCES)
    assert all(module.training for module in model.modules())
    assert not any(hasattr(module, "eigens") or hasattr(module, "covariance_matrix") for module in model.modules())


def test_source_text_is_needed() -> None:
    with pytest.raises(LaloraError, match="method 'corda' needs source text"):
        prepared({})


def test_it_says_what_part_of_the_text_that_peft_asks_for_it_has() -> None:
    seen = sum(len(row["input_ids"]) for row in ROWS)
    # 256 rows of 2048 tokens for a hidden size of 4096 are 128 tokens a dimension, and 16 dimensions here.
    wanted = 256 * 2048 // 4096 * 16
    said = rf"reads {seen} source tokens in 4 rows, {seen / wanted:.2g} of the {wanted} that PEFT asks for"
    with pytest.warns(UserWarning, match=said):
        prepared(SOURCES)


def test_with_as_much_text_as_peft_asks_for_it_is_silent() -> None:
    long = [{name: torch.arange(64).remainder(30) + 1 for name in ("input_ids", "labels")} for _ in range(32)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        prepared({"arc": batches(long, 4)})
        with pytest.raises(UserWarning, match="of the 2048 that PEFT asks for"):
            prepared({"arc": batches(long[1:], 4)})
