"""Stage I against a float64 per-sample autograd loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import fisher_oracle as oracle
import lalora
from lalora.adapter import linear_pairs, snapshot, trainable_tensors
from tiny import Batch, batches, collate, lora, rows

ADAPTERS: dict[str, dict[str, Any]] = {
    "initial": {},
    "moved": {"b_scale": 0.3},
    "attention only": {"b_scale": 0.3, "target_modules": ["q_proj", "k_proj"]},
    "rank pattern": {"b_scale": 0.3, "rank_pattern": {"q_proj": 5, "down_proj": 1}, "alpha_pattern": {"q_proj": 3}},
    "rsLoRA": {"b_scale": 0.3, "use_rslora": True},
    "DoRA": {"b_scale": 0.3, "use_dora": True},
    "DoRA at B = 0": {"use_dora": True},
    "dropout": {"b_scale": 0.3, "lora_dropout": 0.5},
    "embedding": {"b_scale": 0.3, "target_modules": ["embed_tokens", "v_proj"]},
    "saved module": {"b_scale": 0.3, "target_modules": ["v_proj"], "modules_to_save": ["lm_head"]},
    "bias": {"b_scale": 0.3, "lora_bias": True},
}


def precision_of(model: torch.nn.Module, items: list[Batch], size: int, **settings: Any) -> dict[str, Tensor]:
    fitted = lalora.fit(model, batches(items, size), progress=False, **{"curvature": "diagonal", **settings})
    return dict(fitted.curvature.tensors())


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    nonzero = {name for name, value in expected.items() if bool(value.any())}
    assert set(found) == nonzero
    for name in nonzero:
        error = (found[name].double() - expected[name]).norm() / expected[name].norm()
        assert error <= tolerance, name


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("labels", ["data", "sampled"])
@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_sequence(adapter: dict[str, Any], labels: str) -> None:
    model, items = lora(**adapter), rows(5)
    found = precision_of(model, items, 3, fisher="sequence", labels=labels, seed=4)
    assert_equal(found, oracle.sequence(model, items, labels, seed=4))


@pytest.mark.parametrize("adapter", ["initial", "moved", "rank pattern", "rsLoRA", "DoRA"])
def test_token(adapter: str) -> None:
    model, items = lora(**ADAPTERS[adapter]), rows(4)
    found = precision_of(model, items, 3, fisher="token", labels="data")
    wide = oracle.in_float64(model)
    linear = {}
    for pair in linear_pairs(wide):
        linear |= {pair.a: pair.down, pair.b: pair.up}
    expected = oracle.token(wide, items, linear)
    magnitudes = {name for name in trainable_tensors(model) if name not in linear}
    assert_equal({name: value for name, value in found.items() if name not in magnitudes}, expected)
    per_row = oracle.sequence(model, items)
    assert_equal({name: found[name] for name in magnitudes}, {name: per_row[name] for name in magnitudes})


@pytest.mark.parametrize("adapter", ["moved", "DoRA"])
def test_batch(adapter: str) -> None:
    model, items = lora(**ADAPTERS[adapter]), rows(5)
    found = precision_of(model, items, 2, fisher="batch", labels="data")
    assert_equal(found, oracle.batch(model, [items[0:2], items[2:4], items[4:5]]))


@pytest.mark.parametrize("fisher", ["sequence", "token"])
@pytest.mark.parametrize("labels", ["data", "sampled"])
@pytest.mark.parametrize("adapter", ["moved", "DoRA"])
def test_batch_size_changes_nothing(adapter: str, labels: str, fisher: str) -> None:
    model, items = lora(**ADAPTERS[adapter]), rows(8)
    one, three, eight = (precision_of(model, items, size, fisher=fisher, labels=labels) for size in (1, 3, 8))
    assert_equal(three, {name: value.double() for name, value in one.items()})
    assert_equal(eight, {name: value.double() for name, value in one.items()})


@pytest.mark.parametrize("fisher", ["sequence", "token"])
def test_left_padding_never_counts(fisher: str) -> None:
    model, items = lora(b_scale=0.3), rows(4)
    left = lalora.fit(
        model, [collate(items, left=True)], fisher=fisher, labels="data", progress=False, curvature="diagonal"
    )
    right = lalora.fit(model, [collate(items)], fisher=fisher, labels="data", progress=False, curvature="diagonal")
    expected = {name: value.double() for name, value in right.curvature.tensors().items()}
    assert_equal(left.curvature.tensors(), expected)
    assert left.provenance.datasets[0].sha256 == right.provenance.datasets[0].sha256


def test_hidden_positions_with_labels_never_count() -> None:
    model, items = lora(b_scale=0.3), rows(4)
    clean = collate(items)
    careless = {**clean, "labels": clean["labels"].masked_fill(clean["attention_mask"] == 0, 3)}
    first, second = (
        lalora.fit(model, [batch], labels="data", progress=False, curvature="diagonal") for batch in (clean, careless)
    )
    assert first.provenance.datasets == second.provenance.datasets
    assert_equal(second.curvature.tensors(), {k: v.double() for k, v in first.curvature.tensors().items()}, 0.0)


def test_a_batch_without_completions_is_no_mini_batch() -> None:
    model, items = lora(b_scale=0.3), rows(4)
    empty = {**items[0], "labels": torch.full_like(items[0]["labels"], -100)}
    settings: dict[str, Any] = {"fisher": "batch", "labels": "data", "progress": False}
    with_it = lalora.fit(model, [collate(items), collate([empty])], **{"curvature": "diagonal", **settings})
    assert with_it.provenance.datasets[0].batches == 1
    assert_equal(with_it.curvature.tensors(), oracle.batch(model, [items]))


def test_datasets_are_averaged_each_by_its_own_tokens() -> None:
    model, first, second = lora(b_scale=0.3), rows(3, seed=1), rows(6, seed=2)
    settings: dict[str, Any] = {"labels": "data", "progress": False}
    sources = {"first": batches(first, 2), "second": batches(second, 4)}
    parts = [oracle.sequence(model, items) for items in (first, second)]
    for combine, factor in (("mean", 0.5), ("sum", 1.0)):
        found = lalora.fit(model, sources, combine=combine, **{"curvature": "diagonal", **settings}).curvature.tensors()
        assert_equal(found, {name: factor * (parts[0][name] + parts[1][name]) for name in parts[0]})


def test_a_is_exactly_zero_where_b_is() -> None:
    fitted = lalora.fit(lora(), batches(rows(3), 3), progress=False, curvature="diagonal")
    assert fitted.curvature.names
    assert not [name for name in fitted.curvature.names if "lora_A" in name]


@pytest.mark.parametrize("adapter", ["mathematics", "model", "layers", "self_attn"])
def test_adapter_name_is_not_part_of_a_tensors_name(adapter: str) -> None:
    model = lora(b_scale=0.3)
    default = precision_of(model, rows(3), 3)
    before = snapshot(model)
    model.add_adapter(adapter, model.peft_config["default"])
    model.set_adapter(adapter)
    with torch.no_grad():
        for name, parameter in trainable_tensors(model).items():
            parameter.copy_(before[name])
    renamed = precision_of(model, rows(3), 3)
    assert_equal(renamed, {name: value.double() for name, value in default.items()}, tolerance=0.0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool) -> None:
    model = lora(b_scale=0.3)
    plain = precision_of(model, rows(3), 3)
    model.get_base_model().activation_checkpointing_enable({"use_reentrant": reentrant})
    model.train()
    assert_equal(precision_of(model, rows(3), 3), {name: value.double() for name, value in plain.items()}, 1e-6)


def test_bfloat16_base_keeps_factors_in_float32() -> None:
    model = lora(b_scale=0.3)
    exact = precision_of(model, rows(4), 4, labels="data")
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            model.get_parameter(name).data = parameter.data.bfloat16()
    rough = precision_of(model, rows(4), 4, labels="data")
    for name, value in rough.items():
        assert value.dtype == torch.float32
        assert (value - exact[name]).norm() <= 0.2 * exact[name].norm()
