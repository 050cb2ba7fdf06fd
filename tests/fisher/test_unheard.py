"""Forwards that read an adapter's weights without calling its modules, and tensors that no row reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

import fisher_oracle as oracle
import lalora
from lalora import LaloraError
from lalora.fisher import DiagonalCollector, Pass
from tiny import batches, llama, lora, rows


class Fused(torch.autograd.Function):
    """W₀x + s·B(Ax) with its own backward, as fused kernels have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, a: Tensor, b: Tensor, s: float) -> Tensor:
        ctx.save_for_backward(x, w, a, b)
        ctx.s = s
        return x @ w.T + s * (x @ a.T) @ b.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w, a, b = ctx.saved_tensors
        (g,) = gradients
        flat_x, flat_g = x.flatten(0, 1), g.flatten(0, 1)
        into_b = ctx.s * flat_g.T @ (flat_x @ a.T)
        into_a = ctx.s * (flat_g @ b).T @ flat_x
        return g @ w + ctx.s * (g @ b) @ a, None, into_a, into_b, None


def parts(layer: LoraLinear) -> tuple[Tensor, Tensor, Tensor, float]:
    return (
        layer.base_layer.weight,
        layer.lora_A["default"].weight,
        layer.lora_B["default"].weight,
        layer.scaling["default"],
    )


def reading(layer: LoraLinear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        w, a, b, s = parts(layer)
        return F.linear(x, w) + s * F.linear(F.linear(x, a), b)

    return forward


def fused(layer: LoraLinear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        w, a, b, s = parts(layer)
        return Fused.apply(x, w, a, b, s)  # type: ignore[no-any-return, no-untyped-call]

    return forward


def half_reading(layer: LoraLinear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        w, a, b, s = parts(layer)
        called = layer.lora_B["default"](layer.lora_A["default"](x))
        return F.linear(x, w) + s * (0.5 * called + 0.5 * F.linear(F.linear(x, a), b))

    return forward


def reading_of_long_rows(layer: LoraLinear) -> Callable[[Tensor], Tensor]:
    calling = layer.forward

    def forward(x: Tensor) -> Tensor:
        return reading(layer)(x) if x.shape[1] > 9 else calling(x)

    return forward


KERNELS = {"reading": reading, "fused": fused, "half reading": half_reading, "long rows": reading_of_long_rows}


def with_kernel(model: PeftModel, kernel: str, which: str) -> PeftModel:
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear) and which in name:
            layer.forward = KERNELS[kernel](layer)  # type: ignore[method-assign]
    return model


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == {name for name, value in expected.items() if bool(value.any())}
    for name in found:
        assert (found[name].double() - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize("b_scale", [0.0, 0.3])
@pytest.mark.parametrize("which", ["layers.0.self_attn.q_proj", "mlp", ""], ids=["one layer", "some", "all layers"])
@pytest.mark.parametrize("kernel", list(KERNELS))
def test_weights_that_are_read_without_a_call(kernel: str, which: str, b_scale: float) -> None:
    items = rows(7)
    expected = oracle.sequence(lora(b_scale=b_scale), items)
    model = with_kernel(lora(b_scale=b_scale), kernel, which)
    found = lalora.fit(
        model, batches(items, 3), labels="data", progress=False, curvature="diagonal"
    ).curvature.tensors()
    assert_equal(dict(found), expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_sure_model_hides_no_weight_that_is_read_without_a_call() -> None:
    def small() -> PeftModel:
        model = lora(b_scale=0.3)
        with torch.no_grad():
            model.get_base_model().lm_head.weight.mul_(1e-17)
        return model

    items = rows(4)
    found = lalora.fit(
        with_kernel(small(), "fused", "mlp"), batches(items, 2), labels="data", progress=False, curvature="diagonal"
    )
    assert_equal(dict(found.curvature.tensors()), oracle.sequence(small(), items))


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_gradients_too_small_to_be_compared_are_told(kernel: str) -> None:
    model = with_kernel(lora(b_scale=0.3), kernel, "mlp")
    with torch.no_grad():
        model.get_base_model().lm_head.weight.mul_(1e-30)
    with pytest.warns(UserWarning, match="and 27 more are so small that their squares are zero"):
        lalora.fit(model, batches(rows(4), 2), labels="data", progress=False, curvature="diagonal")


def test_batches_as_such_where_weights_are_read_without_a_call() -> None:
    items = rows(5)
    expected = oracle.batch(lora(b_scale=0.3), [items[:3], items[3:]])
    model = with_kernel(lora(b_scale=0.3), "fused", "mlp")
    found = lalora.fit(
        model, batches(items, 3), fisher="batch", labels="data", progress=False, curvature="diagonal"
    ).curvature.tensors()
    assert_equal(dict(found), expected)


def test_by_position_a_weight_that_is_read_without_a_call_is_squared_row_by_row() -> None:
    items = rows(4)
    by_row, by_token = (
        lalora.fit(
            lora(b_scale=0.3), batches(items, 3), fisher=fisher, labels="data", progress=False, curvature="diagonal"
        ).curvature.tensors()
        for fisher in ("sequence", "token")
    )
    model = with_kernel(lora(b_scale=0.3), "fused", "mlp")
    found = lalora.fit(
        model, batches(items, 3), fisher="token", labels="data", progress=False, curvature="diagonal"
    ).curvature.tensors()
    assert_equal(dict(found), {name: (by_row if "mlp" in name else by_token)[name].double() for name in found})


def test_sampled_labels_stay_those_of_the_row() -> None:
    items = rows(7)
    plain = lalora.fit(lora(b_scale=0.3), batches(items, 3), progress=False, curvature="diagonal").curvature.tensors()
    model = with_kernel(lora(b_scale=0.3), "long rows", "")
    found = lalora.fit(model, batches(items, 3), progress=False, curvature="diagonal")
    assert_equal(dict(found.curvature.tensors()), {name: value.double() for name, value in plain.items()})
    assert found.provenance.datasets[0].rows == 7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True], ids=["adapter in half", "adapter in float32"])
def test_half_precision_is_not_taken_for_a_weight_that_is_read_elsewhere(dtype: torch.dtype, autocast: bool) -> None:
    model = lora(b_scale=0.3).to(dtype)
    if autocast:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    squares = DiagonalCollector.of_adapter(model, "sequence")
    Pass(model, "data", 0, progress=False).over("source", batches(rows(40), 20), squares)
    assert not squares.by_row


def test_modules_that_work_on_chosen_positions_alone() -> None:
    """As experts do, which get the tokens that are sent to them."""

    def sparse(model: PeftModel) -> PeftModel:
        def choose(mlp: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            (x,) = inputs
            sent = x[..., 0] > 0
            gate, up, down = (mlp.get_submodule(f"{name}_proj") for name in ("gate", "up", "down"))
            return torch.zeros_like(x).index_put((sent,), down(F.silu(gate(x[sent])) * up(x[sent])))

        model.get_base_model().model.layers[0].mlp.register_forward_hook(choose)
        return model

    items = rows(5)
    expected = oracle.sequence(sparse(lora(b_scale=0.3)), items)
    found = lalora.fit(
        sparse(lora(b_scale=0.3)), batches(items, 3), labels="data", progress=False, curvature="diagonal"
    )
    assert_equal(dict(found.curvature.tensors()), expected)


def read_besides(model: PeftModel) -> PeftModel:
    """Calls every layer, and adds the adapter of one of them to the output of another module."""

    def more(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        _, a, b, _ = parts(module.get_submodule("gate_proj"))  # type: ignore[arg-type]
        return output + 0.5 * F.linear(F.linear(inputs[0], a), b[: output.shape[-1]])

    model.get_base_model().model.layers[0].mlp.register_forward_hook(more)
    return model


@pytest.mark.parametrize("curvature", ["kfac", "tri-kfac", "weight-kfac", "weight-diagonal"])
@pytest.mark.parametrize("b_scale", [0.0, 0.3])
def test_an_adapter_that_is_called_and_read_besides_is_refused(curvature: str, b_scale: float) -> None:
    items = rows(5)
    lalora.fit(lora(b_scale=b_scale), batches(items, 3), curvature=curvature, progress=False)
    with pytest.raises(LaloraError, match=r"uses the adapter of '.*layers\.0\.mlp\.gate_proj' in other ways"):
        lalora.fit(read_besides(lora(b_scale=b_scale)), batches(items, 3), curvature=curvature, progress=False)
    found = lalora.fit(
        read_besides(lora(b_scale=b_scale)), batches(items, 3), labels="data", progress=False, curvature="diagonal"
    )
    assert_equal(dict(found.curvature.tensors()), oracle.sequence(read_besides(lora(b_scale=b_scale)), items))


class Tower(nn.Module):
    """A part of a model that text never reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.tower_proj = nn.Linear(4, 4)


@pytest.mark.parametrize("besides", [["q_proj"], []], ids=["besides others", "alone"])
@pytest.mark.parametrize("curvature", ["diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal"])
def test_a_tower_that_text_never_reaches_is_named(curvature: str, besides: list[str]) -> None:
    base = llama()
    base.vision = Tower()
    model = get_peft_model(base, LoraConfig(r=2, target_modules=[*besides, "tower_proj"]))
    with pytest.raises(LaloraError, match=r"no row of .* reaches .*vision\.tower_proj.*: leave"):
        lalora.fit(model, batches(rows(3), 2), curvature=curvature, progress=False)


@pytest.mark.parametrize("curvature", ["kfac", "weight-kfac", "weight-diagonal"])
def test_factors_of_a_layer_that_is_never_called_are_refused(curvature: str) -> None:
    model = lora()
    mlp = model.get_base_model().model.layers[0].mlp

    def read(x: Tensor) -> Tensor:
        gate, up, down = (reading(mlp.get_submodule(f"{name}_proj")) for name in ("gate", "up", "down"))
        return down(F.silu(gate(x)) * up(x))

    mlp.forward = read
    with pytest.raises(LaloraError, match=r"no row of source 'source' reaches module '.*layers\.0\.mlp.*'"):
        lalora.fit(model, batches(rows(3), 2), curvature=curvature, progress=False)


def test_a_tensor_that_one_source_reaches_is_enough() -> None:
    model = lora(b_scale=0.3)
    layer = model.get_base_model().model.layers[1].mlp
    called = layer.forward
    layer.forward = lambda x: called(x) if x.shape[1] > 6 else torch.zeros_like(x)
    items = sorted(rows(12), key=lambda row: len(row["input_ids"]))
    short = [row for row in items if len(row["input_ids"]) <= 6]
    fitted = lalora.fit(
        model, {"short": batches(short, 2), "long": batches(items[-2:], 2)}, progress=False, curvature="diagonal"
    )
    assert [name for name in fitted.curvature.names if "layers.1.mlp" in name]
