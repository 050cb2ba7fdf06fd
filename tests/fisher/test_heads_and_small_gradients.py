"""Adapted language heads, and gradients too small for the precision that they are computed in."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import fisher_oracle as oracle
import lalora
from lalora.adapter import linear_pairs, peft_model, trainable_tensors
from lalora.fisher._pass import loss_and_gradient
from tiny import batches, lora, rows

HEADS: dict[str, dict[str, Any]] = {
    "head": {"target_modules": ["lm_head", "v_proj"]},
    "head and embedding": {"target_modules": ["lm_head", "embed_tokens", "v_proj"]},
    "saved head": {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize("fisher", ["sequence", "token"])
@pytest.mark.parametrize("settings", HEADS.values(), ids=HEADS.keys())
def test_an_adapted_head_against_autograd(settings: dict[str, Any], fisher: str) -> None:
    model, items = lora(b_scale=0.3, **settings), rows(5)
    found = lalora.fit(
        model, batches(items, 3), fisher=fisher, labels="data", progress=False, curvature="diagonal"
    ).curvature.tensors()
    expected = oracle.sequence(model, items)
    if fisher == "token":
        wide = oracle.in_float64(model)
        linear = {}
        for pair in linear_pairs(wide):
            linear |= {pair.a: pair.down, pair.b: pair.up}
        expected |= oracle.token(wide, items, linear)
    expected = {name: value for name, value in expected.items() if bool(value.any())}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].double() - value).norm() <= 1e-5 * value.norm(), name


@pytest.mark.filterwarnings("ignore:this forecast is not calibrated")
@pytest.mark.parametrize("curvature", ["kfac", "weight-kfac", "weight-diagonal"])
def test_factors_of_an_adapted_head(curvature: str) -> None:
    model, items = lora(b_scale=0.3, target_modules=["lm_head"]), rows(4)
    fitted = lalora.fit(model, batches(items, 3), curvature=curvature, fisher="token", labels="data", progress=False)
    layer = peft_model(model).base_model.model.lm_head
    wide = oracle.in_float64(model)
    xs, gs, tokens, shown = [], [], 0, 0
    for row in items:
        hidden = wide.get_base_model().model(input_ids=row["input_ids"][None]).last_hidden_state[0]
        logits = wide(input_ids=row["input_ids"][None]).logits[0]
        kept = row["labels"][1:] != -100
        wanted = torch.nn.functional.one_hot(row["labels"][1:].clamp(min=0), logits.shape[1])
        gs.append(torch.cat([(logits[:-1].softmax(-1) - wanted) * kept[:, None], torch.zeros_like(logits[:1])]))
        xs.append(hidden)
        tokens, shown = tokens + int(kept.sum()), shown + len(hidden)
    x, g = torch.cat(xs).detach(), torch.cat(gs).detach()
    with torch.no_grad():
        moved = {name: p.detach().clone().normal_(std=0.1) for name, p in trainable_tensors(model).items()}
        b0, a0 = layer.lora_B["default"].weight.double(), layer.lora_A["default"].weight.double()
        for name, p in trainable_tensors(model).items():
            p.add_(moved[name])
        b, a = layer.lora_B["default"].weight.double(), layer.lora_A["default"].weight.double()
        s = layer.scaling["default"]
        dw = s * (b @ a - b0 @ a0)
        if curvature == "weight-diagonal":
            expected = (((g.square().T @ x.square()) / tokens) * dw.square()).sum()
        elif curvature == "weight-kfac":
            expected = (dw @ (x.T @ x / shown) @ dw.T @ (g.T @ g / tokens)).trace()
        else:
            of_a, of_b = s * b0 @ (a - a0), s * (b - b0) @ a0
            expected = sum((d @ (x.T @ x / shown) @ d.T @ (g.T @ g / tokens)).trace() for d in (of_a, of_b))
    assert 2 * fitted.forecast(model) == pytest.approx(float(expected), rel=1e-4)


def sure_of_itself(
    margin: float = 20.0, dtype: torch.dtype = torch.float16
) -> tuple[Any, list[dict[str, torch.Tensor]]]:
    """A model and a row of whose last token it is sure up to e⁻ᵐᵃʳᵍⁱⁿ; of e⁻²⁰ float16 makes zero."""
    model = lora(b_scale=0.3)
    row = rows(1)[0]
    ids = row["input_ids"].clone()
    with torch.no_grad():
        best, second = model(input_ids=ids[None, :-1]).logits[0, -1].topk(2).values.tolist()
        ids[-1] = model(input_ids=ids[None, :-1]).logits[0, -1].argmax()
        model.get_base_model().lm_head.weight.mul_(margin / (best - second))
    labels = torch.full_like(ids, -100)
    labels[-1] = ids[-1]
    return model.to(dtype), [{"input_ids": ids, "labels": labels}]


@pytest.mark.filterwarnings("ignore:this forecast is not calibrated")
@pytest.mark.parametrize("curvature", ["diagonal", "weight-kfac"])
def test_a_sure_model_in_float16_has_the_curvature_of_float64(curvature: str) -> None:
    half, items = sure_of_itself()
    exact = lora(dtype=torch.float64)
    exact.load_state_dict({name: value.double() for name, value in half.state_dict().items()})
    settings: dict[str, Any] = {"curvature": curvature, "labels": "data", "progress": False}
    found = lalora.fit(half, batches(items, 1), **{"curvature": "diagonal", **settings})
    expected = lalora.fit(exact, batches(items, 1), **{"curvature": "diagonal", **settings})
    with torch.no_grad():
        for model in (half, exact):
            for name, parameter in trainable_tensors(model).items():
                torch.manual_seed(len(name))
                parameter.add_(torch.randn(parameter.shape).to(parameter) * 0.1)
    right = 2 * expected.forecast(exact)
    assert 0 < right < 1e-6
    assert 2 * found.forecast(half) == pytest.approx(right, rel=0.4)


@pytest.mark.parametrize("margin", [8.0, 18.0, 24.0])
def test_a_sure_model_in_float32_against_autograd_in_float64(margin: float) -> None:
    model, items = sure_of_itself(margin, torch.float32)
    found = lalora.fit(
        model, batches(items, 1), labels="data", progress=False, curvature="diagonal"
    ).curvature.tensors()
    for name, value in oracle.sequence(model, items).items():
        assert (found[name].double() - value).norm() <= 1e-4 * value.norm(), name


@pytest.mark.parametrize("curvature", ["diagonal", "kfac"])
def test_a_model_as_sure_as_float16_allows_is_not_flat(curvature: str) -> None:
    half, items = sure_of_itself(40.0)
    exact = lora(dtype=torch.float64)
    exact.load_state_dict({name: value.double() for name, value in half.state_dict().items()})
    settings: dict[str, Any] = {"curvature": curvature, "labels": "data", "progress": False, "prior": "auto"}
    found, right = (
        lalora.fit(model, batches(items, 1), **{"curvature": "diagonal", **settings}).prior for model in (half, exact)
    )
    # The margin itself is rounded to half a per cent of it.
    assert 0.3 < float(found) / float(right) < 3


def test_loss_and_gradient_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(7, 31, dtype=torch.float64) * 5).requires_grad_()
    targets = torch.randint(0, 31, (7,))
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    expected.backward()
    loss, gradient = loss_and_gradient(logits.detach(), targets)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)
    assert logits.grad is not None
    assert torch.allclose(gradient, logits.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("curvature", ["kfac", "weight-diagonal"])
def test_squares_that_underflow_are_told_however_many_rows_there_are(curvature: str) -> None:
    model = lora(b_scale=0.3)
    with torch.no_grad():
        model.get_base_model().lm_head.weight.mul_(1e-30)
    with pytest.warns(UserWarning, match="squares are zero in this precision"):
        lalora.fit(model, batches(rows(30), 10), curvature=curvature, progress=False)


@pytest.mark.parametrize("curvature", ["diagonal", "kfac"])
def test_squares_that_underflow_are_told(curvature: str) -> None:
    model = lora(b_scale=0.3)
    head = model.get_base_model().lm_head
    with torch.no_grad():
        head.weight.mul_(1e-30)
    with pytest.warns(UserWarning, match="squares are zero in this precision"):
        lalora.fit(model, batches(rows(2), 2), curvature=curvature, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide = lalora.fit(model.double(), batches(rows(2), 2), curvature=curvature, progress=False)
    assert any(bool((tensor > 0).any()) for tensor in wide.curvature.tensors().values())
