"""Kronecker factors against a float64 loop over single rows, and the curvatures made of them against dense formulas."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor

import fisher_oracle as oracle
import lalora
from lalora import LaloraError
from lalora.adapter import linear_pairs, lora_layers, snapshot, trainable_tensors
from lalora.curvature import Factors, WeightKfac
from lalora.fisher import KroneckerCollector, Moments, Pass
from lalora.next_token import require_next_token
from tiny import Batch, batches, collate, lora, rows, shake

Dense = dict[str, Tensor]


def dense_factors(model: PeftModel, items: list[Batch], fisher: str, labels: str = "data") -> tuple[Dense, Dense]:
    """X and G of each layer, worked out a row at a time without masks or padding."""
    wide = oracle.in_float64(model)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            seen[name] = (inputs[0].detach()[0], output)

        return hook

    for name, layer in lora_layers(wide).items():
        layer.register_forward_hook(watch(name))
    x: Dense = {}
    g: Dense = {}
    tokens = positions = 0
    for number, row in enumerate(items):
        logits, targets = oracle.targets_and_logits(wide, row, number, labels, 0)
        F.cross_entropy(logits, targets, reduction="sum").backward()
        tokens += len(targets)
        positions += 1 if fisher == "sequence" else len(row["input_ids"])
        for name, (inputs, output) in seen.items():
            gradients = output.grad[0]
            if fisher == "sequence":
                inputs, gradients = inputs.mean(0, keepdim=True), gradients.sum(0, keepdim=True)
            x[name] = x.get(name, 0) + inputs.T @ inputs
            g[name] = g.get(name, 0) + gradients.T @ gradients
    return {n: v / positions for n, v in x.items()}, {n: v / tokens for n, v in g.items()}


def gathered(model: PeftModel, items: list[Batch], size: int, fisher: str, labels: str = "data") -> Factors:
    collector = KroneckerCollector(lora_layers(model), fisher)
    counts = Pass(model, labels, 0, progress=False).over("source", batches(items, size), collector)
    moments = Moments()
    collector.add_to(moments, counts, 1.0)
    return moments.factors(None, None)


@pytest.mark.parametrize("labels", ["data", "sampled"])
@pytest.mark.parametrize("fisher", ["token", "sequence"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_factors(size: int, fisher: str, labels: str) -> None:
    model, items = lora(b_scale=0.3), rows(8)
    found = gathered(model, items, size, fisher, labels)
    x, g = dense_factors(model, items, fisher, labels)
    assert set(found.layers) == set(x)
    for layer in found.layers:
        assert (found.x(layer).dense() - x[layer]).norm() <= 1e-5 * x[layer].norm()
        assert (found.g(layer).dense() - g[layer]).norm() <= 1e-5 * g[layer].norm()


def test_layers_with_the_same_input_share_a_factor() -> None:
    model = lora()
    found = gathered(model, rows(3), 3, "token")
    assert len(found.inputs) == 4 * model.get_base_model().config.num_hidden_layers
    assert len(found.outputs) == 7 * model.get_base_model().config.num_hidden_layers


def test_checkpointed_activations_are_counted_once() -> None:
    model = lora(b_scale=0.3)
    plain = gathered(model, rows(3), 3, "token")
    model.get_base_model().activation_checkpointing_enable()
    model.train()
    again = gathered(model, rows(3), 3, "token")
    for layer in plain.layers:
        assert torch.allclose(again.x(layer).dense(), plain.x(layer).dense(), rtol=1e-4, atol=1e-6)
        assert torch.allclose(again.g(layer).dense(), plain.g(layer).dense(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", ["mlp", "self_attn.q_proj"])
@pytest.mark.parametrize("curvature", ["diagonal", "kfac", "weight-diagonal"])
def test_modules_that_checkpoint_themselves_the_reentrant_way(curvature: str, part: str) -> None:
    model = lora(b_scale=0.3)
    settings: dict[str, Any] = {"curvature": curvature, "progress": False}
    plain = lalora.fit(model, batches(rows(5), 3), **settings)
    # Inputs have to need a gradient for that, as with enable_input_require_grads.
    model.get_base_model().model.embed_tokens.register_forward_hook(lambda module, ids, x: x.requires_grad_())
    module = model.get_base_model().model.layers[0].get_submodule(part)
    forward = module.forward
    module.forward = lambda x: torch.utils.checkpoint.checkpoint(forward, x, use_reentrant=True)  # type: ignore[method-assign]
    again = lalora.fit(model, batches(rows(5), 3), **settings)
    shake(model)
    assert again.forecast(model) == pytest.approx(plain.forecast(model), rel=1e-5)


def dense_quadratic(kind: str, model: PeftModel, start: dict[str, Tensor], x: Dense, g: Dense) -> Tensor:
    """The formulas of the paper's Eq. 8 and 10 and of the true change of the weight, with dense matrices."""
    now = {name: parameter.detach().double() for name, parameter in trainable_tensors(model).items()}
    total = torch.zeros((), dtype=torch.float64)
    for pair in linear_pairs(model):
        a0, b0, s = start[pair.a].double(), start[pair.b].double(), pair.scaling
        da, db = now[pair.a] - a0, now[pair.b] - b0
        if kind == "kfac":
            parts = [(s * db @ a0), (s * b0 @ da)]
        else:
            dw = s * (db @ a0 + b0 @ da) if kind == "tri-kfac" else s * (now[pair.b] @ now[pair.a] - b0 @ a0)
            parts = [dw]
        for part in parts:
            total += torch.trace(g[pair.layer] @ part @ x[pair.layer] @ part.T)
    return total


@pytest.mark.parametrize("b_scale", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["kfac", "tri-kfac", "weight-kfac"])
def test_a_fitted_curvature_against_dense_formulas(kind: str, b_scale: float) -> None:
    model, items = lora(b_scale=b_scale), rows(5)
    x, g = dense_factors(model, items, "token")
    laplace = lalora.fit(model, batches(items, 2), curvature=kind, labels="data", progress=False)
    start = snapshot(model)
    shake(model)
    expected = 1.5 * dense_quadratic(kind, model, start, x, g)
    value = laplace.penalty(model, 3.0)
    assert float(value.detach()) == pytest.approx(float(expected), rel=1e-4)
    value.backward()
    by_penalty = {name: parameter.grad for name, parameter in trainable_tensors(model).items()}
    model.zero_grad()
    laplace.add_gradient(model, 3.0)
    for name, parameter in trainable_tensors(model).items():
        if by_penalty[name] is not None:
            assert torch.allclose(parameter.grad, by_penalty[name])


@pytest.mark.parametrize("b_scale", [0.0, 0.3])
def test_weight_diagonal_against_the_dense_formula(b_scale: float) -> None:
    model, items = lora(b_scale=b_scale), rows(5)
    wide = oracle.in_float64(model)
    for name, parameter in wide.named_parameters():
        parameter.requires_grad_("base_layer.weight" in name)
    bases = {name: cast("Any", layer).get_base_layer().weight for name, layer in lora_layers(wide).items()}
    fisher = {name: torch.zeros_like(weight) for name, weight in bases.items()}
    tokens = 0
    for number, row in enumerate(items):
        logits, targets = oracle.targets_and_logits(wide, row, number, "data", 0)
        gradients = torch.autograd.grad(F.cross_entropy(logits, targets, reduction="sum"), list(bases.values()))
        tokens += len(targets)
        for name, gradient in zip(bases, gradients, strict=True):
            fisher[name] += gradient.square()
    laplace = lalora.fit(model, batches(items, 2), curvature="weight-diagonal", labels="data", progress=False)
    start = snapshot(model)
    shake(model)
    expected = torch.zeros((), dtype=torch.float64)
    now = {name: parameter.detach().double() for name, parameter in trainable_tensors(model).items()}
    for pair in linear_pairs(model):
        change = now[pair.b] @ now[pair.a] - start[pair.b].double() @ start[pair.a].double()
        expected += (fisher[pair.layer] / tokens * (pair.scaling * change).square()).sum()
    assert float(laplace.penalty(model, 3.0).detach()) == pytest.approx(1.5 * float(expected), rel=1e-4)


@pytest.mark.parametrize("kind", ["kfac", "tri-kfac", "weight-kfac", "weight-diagonal"])
@pytest.mark.parametrize("combine", ["mean", "separate", "sum"])
def test_saved_and_loaded_to_the_bit(kind: str, combine: str, tmp_path: Any) -> None:
    model = lora(b_scale=0.3)
    sources = {"one": batches(rows(3), 3), "two": batches(rows(4, seed=2), 2)}
    laplace = lalora.fit(model, sources, curvature=kind, combine=combine, progress=False)
    laplace.save(tmp_path)
    shake(model)
    assert torch.equal(lalora.Laplace.load(tmp_path).penalty(model), laplace.penalty(model))
    assert laplace.forecast(model) > 0 if combine != "sum" else True


def test_factors_of_datasets_are_averaged_each(tmp_path: Any) -> None:
    model, first, second = lora(b_scale=0.3), rows(3, seed=1), rows(6, seed=2)
    parts = [dense_factors(model, items, "token") for items in (first, second)]
    x, g = ({n: (parts[0][k][n] + parts[1][k][n]) / 2 for n in parts[0][k]} for k in (0, 1))
    sources = {"one": batches(first, 3), "two": batches(second, 3)}
    start = snapshot(model)
    laplaces = {
        combine: lalora.fit(model, sources, curvature="weight-kfac", labels="data", combine=combine, progress=False)
        for combine in ("mean", "separate", "sum")
    }
    shake(model)
    apart = [dense_quadratic("weight-kfac", model, start, *part) for part in parts]
    mixed = dense_quadratic("weight-kfac", model, start, x, g)
    for combine, expected in (("mean", mixed), ("separate", sum(apart) / 2), ("sum", sum(apart))):
        value = laplaces[combine].penalty(model, 2.0).detach()
        assert float(value) == pytest.approx(float(expected), rel=1e-4), combine


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("weight-kfac", {"use_dora": True}), ("kfac", {"modules_to_save": ["lm_head"]})],
    ids=["DoRA", "saved module"],
)
def test_an_adapter_that_does_not_factor_is_refused(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(LaloraError, match=f"'{kind}' serves plain linear LoRA layers only"):
        lalora.fit(lora(**settings), [collate(rows(2))], curvature=kind, progress=False)


def test_a_layer_that_is_called_again_is_averaged_over_its_calls() -> None:
    model = lora(b_scale=0.3)
    layers = model.get_base_model().model.layers
    once = gathered(model, rows(4), 4, "token")
    layers[1] = layers[0]
    twice = gathered(model, rows(4), 4, "token")
    name = next(layer for layer in once.layers if "layers.0.self_attn.q_proj" in layer)
    # RMSNorm without a learned scale keeps the mean square of an input near 1, however often the layer is called.
    assert float(twice.x(name).trace) == pytest.approx(float(once.x(name).trace), rel=0.2)


def test_an_input_that_was_changed_in_place_is_another_input() -> None:
    model = lora(target_modules=["gate_proj", "up_proj"])
    require_next_token(model)  # differentiates what the change makes impossible
    mlp = model.get_base_model().model.layers[0].mlp

    def forward(x: Tensor) -> Tensor:
        copy = x.clone()
        gate = mlp.gate_proj(copy)
        with torch.no_grad():
            copy.mul_(3)
        return mlp.down_proj(F.silu(gate) * mlp.up_proj(copy))

    mlp.forward = forward
    found = gathered(model, rows(3), 3, "token")
    gate, up = (next(layer for layer in found.layers if f"layers.0.mlp.{which}" in layer) for which in ("gate", "up"))
    assert float(found.x(up).trace) == pytest.approx(9 * float(found.x(gate).trace), rel=1e-4)


def test_rank_holds_for_the_mean_of_several_datasets() -> None:
    sources = {"one": batches(rows(3), 3), "two": batches(rows(4, seed=2), 2)}
    laplace = lalora.fit(lora(), sources, curvature="weight-kfac", factor_rank=2, progress=False)
    assert isinstance(laplace.curvature, WeightKfac)
    factors = laplace.curvature.factors
    assert {factor.rank for factor in [*factors.inputs.values(), *factors.outputs.values()]} == {2}


def test_rows_without_completions_never_count() -> None:
    model, items = lora(b_scale=0.3), rows(4)
    empty = {**items[0], "labels": torch.full_like(items[0]["labels"], -100)}
    plain = lalora.fit(model, [collate(items)], curvature="kfac", progress=False)
    mixed = lalora.fit(model, [collate([empty, *items])], curvature="kfac", progress=False)
    shake(model)
    assert mixed.provenance.datasets[0].rows == 4
    assert mixed.forecast(model) == pytest.approx(plain.forecast(model), rel=1e-5)


def test_autocast_around_a_fit_changes_nothing() -> None:
    model = lora(b_scale=0.3)
    plain = lalora.fit(model, batches(rows(3), 3), curvature="kfac", progress=False)
    with torch.autocast("cpu", torch.bfloat16):
        again = lalora.fit(model, batches(rows(3), 3), curvature="kfac", progress=False)
    shake(model)
    assert again.forecast(model) == pytest.approx(plain.forecast(model), rel=1e-6)


@pytest.mark.parametrize("frozen", ["lora_A", "lora_B"])
def test_half_an_adapter_does_not_factor(frozen: str) -> None:
    model = lora(b_scale=0.3)
    for name, parameter in model.named_parameters():
        if frozen in name:
            parameter.requires_grad_(False)
    with pytest.raises(LaloraError, match="with A and B both trainable"):
        lalora.fit(model, [collate(rows(2))], curvature="weight-kfac", progress=False)


def test_layers_that_are_frozen_are_left_out() -> None:
    model = lora(b_scale=0.3)
    for name, parameter in model.named_parameters():
        if "layers.0" in name:
            parameter.requires_grad_(False)
    laplace = lalora.fit(model, [collate(rows(3))], curvature="weight-kfac", progress=False)
    shake(model)
    assert laplace.penalty(model) > 0
    assert not [name for name in laplace.curvature.names if "layers.0" in name]


@pytest.mark.parametrize("bad", [{"factor_rank": 0}, {"prior": -1.0}])
def test_bad_numbers_are_found_before_the_pass(bad: dict[str, Any]) -> None:
    with pytest.raises(LaloraError, match="must be"):
        lalora.fit(lora(), iter(()), curvature="kfac", progress=False, **bad)


@pytest.mark.parametrize("kind", ["kfac", "weight-diagonal"])
def test_a_module_that_no_row_reaches_is_named(kind: str) -> None:
    model = lora()
    mlp = model.get_base_model().model.layers[0].mlp
    mlp.forward = lambda x: mlp.down_proj(F.silu(mlp.gate_proj(x)))
    with pytest.raises(LaloraError, match=r"no row of source 'source' reaches module '.*layers\.0\.mlp\.up_proj'"):
        lalora.fit(model, [collate(rows(2))], curvature=kind, progress=False)


def test_the_batch_estimator_does_not_factor() -> None:
    with pytest.raises(LaloraError, match="fisher='batch' does not factor"):
        lalora.fit(lora(), [collate(rows(2))], curvature="kfac", fisher="batch", progress=False)
