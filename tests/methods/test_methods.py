"""Methods, and how far weights move by precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from lalora import LaloraError, methods
from lalora.adapter import snapshot
from lalora.methods.costs import costs
from tiny import batches, lora, rows, shake


def test_lalora_without_strength_is_lora() -> None:
    model = lora()
    method = methods.build("lalora", strength=0.0)
    method.prepare(model, {"arc": batches(rows(3), 3)})
    shake(model)
    method.after_backward(model, 0, 1.0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert method.metrics(model)["penalty"] == 0.0


def test_a_laplace_that_is_given_is_checked() -> None:
    first = methods.LaLoRA(2.0)
    first.prepare(lora(), {"arc": batches(rows(3), 3)})
    with pytest.raises(LaloraError, match="the model here is another"):
        methods.LaLoRA(2.0, laplace=first.laplace).prepare(lora(seed=9), {})


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        (
            "laura",
            {},
            "method 'laura' is unknown: there are lora, lalora, ewc-lora, l2, ",
        ),
        ("lora", {"strength": 1.0}, "method 'lora' has no 'strength'"),
        ("lalora", {"strength": -1.0}, "strength must be greater than or equal to 0"),
    ],
)
def test_bad_knobs(name: str, knobs: dict[str, float], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        methods.build(name, **knobs)


def test_precision_groups_follow_table_11() -> None:
    model = lora()
    method = methods.LaLoRA(curvature="diagonal")
    method.prepare(model, {"arc": batches(rows(5), 5)})
    assert method.laplace is not None
    before = snapshot(model)
    shake(model)
    groups = {row["group"]: row for row in methods.precision_groups(method.laplace, before, snapshot(model))}
    a_weights = sum(tensor.numel() for name, tensor in before.items() if "lora_A" in name)
    total = sum(tensor.numel() for tensor in before.values())
    dead = sum(int((block == 0).sum()) for block in method.laplace.curvature.tensors().values())
    assert groups["flexible"]["n"] == a_weights + dead
    assert groups["flexible"]["max"] == 0.0
    assert groups["important"]["n"] == pytest.approx(0.1 * total, abs=1)
    assert groups["middle"]["max"] <= groups["important"]["min"]
    assert sum(row["n"] for row in groups.values()) == total


def test_precision_groups_by_hand() -> None:
    model = lora()
    method = methods.LaLoRA(curvature="diagonal")
    method.prepare(model, {"arc": batches(rows(5), 5)})
    assert method.laplace is not None
    name = method.laplace.curvature.names[0]
    before = snapshot(model)
    after = {**before, name: before[name] + (method.laplace.curvature.tensors()[name] > 0) * 0.5}
    groups = methods.precision_groups(method.laplace, before, after)
    assert sum(row["n"] * row["change"] for row in groups) == pytest.approx(
        0.5 * int((method.laplace.curvature.tensors()[name] > 0).sum())
    )
    assert groups[0]["change"] == 0.0


def test_nothing_is_important_where_nothing_has_precision() -> None:
    model = lora()
    method = methods.LaLoRA(curvature="diagonal")
    method.prepare(model, {"arc": batches(rows(2), 2)})
    assert method.laplace is not None
    method.laplace.curvature = method.laplace.curvature.scaled(0.0)
    rows_ = methods.precision_groups(method.laplace, snapshot(model), snapshot(model))
    assert [row["n"] > 0 for row in rows_] == [True, False, False]
    assert rows_[2]["mean"] is None


@pytest.mark.parametrize("method", methods.METHODS.values(), ids=methods.METHODS)
def test_every_method_says_what_it_is(method: type[methods.Method]) -> None:
    assert method.label
    assert method.citation
    assert len(method.grid) == 3
    if method.knob != "learning_rate":
        for value in method.grid:
            methods.build(method.name, **{method.knob: value})


def test_what_a_method_costs_is_what_the_benchmark_measured() -> None:
    table = (Path(__file__).parents[2] / "results" / "benchmarks" / "methods.md").read_text()
    for name, measured in costs().items():
        for cost in measured:
            named = f"`{name}` {cost.curvature}" if cost.curvature else f"`{name}`"
            assert f"| {named} | {cost.ready:.1f} | {cost.step:.2f} | " in table
    assert set(costs()) == set(methods.METHODS) - {"lora"}
    assert [cost.curvature for cost in costs()["lalora"]] == ["diagonal", "weight-kfac"]
    assert all(cost.step > 0.5 and cost.memory > 0.5 for measured in costs().values() for cost in measured)
