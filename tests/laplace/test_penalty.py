"""The penalty against the dense quadratic, and its gradient."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lalora
from lalora import LaloraError, Laplace
from lalora.adapter import linear_pairs, snapshot, trainable_tensors
from lalora.curvature import Diagonal
from lalora.laplace._penalty import Penalty
from tiny import batches, lora, rows, shake


@pytest.fixture
def fitted() -> tuple[torch.nn.Module, Laplace]:
    model = lora(b_scale=0.3, dtype=torch.float64)
    return model, lalora.fit(model, batches(rows(4), 2), progress=False, curvature="diagonal")


def dense_half_quadratic(laplace: Laplace, start: dict[str, Tensor], model: torch.nn.Module) -> Tensor:
    precision = laplace.curvature.tensors()
    moved = trainable_tensors(model)
    delta = torch.cat([(moved[name] - start[name]).reshape(-1) for name in precision])
    dense = torch.diag(torch.cat([block.reshape(-1) for block in precision.values()]))
    return 0.5 * delta @ dense @ delta


def test_value_and_gradient_against_the_dense_matrix(fitted: tuple[torch.nn.Module, Laplace]) -> None:
    model, laplace = fitted
    start = snapshot(model)
    shake(model)
    value = laplace.penalty(model, 2.5)
    value.backward()
    expected = 2.5 * dense_half_quadratic(laplace, start, model)
    assert torch.allclose(value, expected, rtol=1e-12)
    tensors = trainable_tensors(model)
    charged = [tensors[name] for name in laplace.curvature.names]
    for parameter, gradient in zip(charged, torch.autograd.grad(expected, charged), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-12)
    assert laplace.forecast(model) == pytest.approx(float(expected.detach()) / 2.5)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    curvature = Diagonal.of({"a": torch.rand(2, 3).double(), "b": torch.rand(4).double()})
    means = [torch.randn(2, 3).double(), None]
    point = [torch.randn(2, 3).double().requires_grad_(), torch.randn(4).double().requires_grad_()]
    assert torch.autograd.gradcheck(lambda *theta: Penalty.apply(curvature, means, 1.7, *theta), point)


def test_add_gradient_is_the_gradient_of_the_penalty(fitted: tuple[torch.nn.Module, Laplace]) -> None:
    model, laplace = fitted
    shake(model)
    laplace.penalty(model, 3.0).backward()
    expected = {name: parameter.grad for name, parameter in trainable_tensors(model).items()}
    model.zero_grad()
    laplace.add_gradient(model, 3.0, loss_scale=4.0)
    for name, parameter in trainable_tensors(model).items():
        if name in laplace.curvature.names:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, 4.0 * expected[name])


@pytest.mark.parametrize("curvature", ["diagonal", "kfac", "weight-kfac", "weight-diagonal"])
def test_a_prior_is_charged_and_left_out_of_the_forecast(curvature: str, tmp_path: Path) -> None:
    model = lora(b_scale=0.3, dtype=torch.float64)
    start = snapshot(model)
    options = {"curvature": curvature, "progress": False}
    bare = lalora.fit(model, batches(rows(4), 2), **{"curvature": "diagonal", **options})
    held = lalora.fit(model, batches(rows(4), 2), prior=0.7, **{"curvature": "diagonal", **options})
    shake(model)
    held.save(tmp_path)
    held = Laplace.load(tmp_path)
    now = trainable_tensors(model)
    if curvature.startswith("weight"):
        changes = [
            pair.scaling * (now[pair.b] @ now[pair.a] - start[pair.b] @ start[pair.a]) for pair in linear_pairs(model)
        ]
    else:
        changes = [parameter - start[name] for name, parameter in now.items()]
    prior = 0.7 * sum(change.square().sum() for change in changes)
    expected = bare.penalty(model, 2.0) + prior  # λ·½·δ‖·‖² with λ = 2
    assert torch.allclose(held.penalty(model, 2.0), expected, rtol=1e-5)
    assert held.forecast(model) == pytest.approx(bare.forecast(model))
    held.penalty(model, 2.0).backward()
    found = {name: parameter.grad.clone() for name, parameter in now.items()}
    for name, gradient in zip(now, torch.autograd.grad(expected, list(now.values())), strict=True):
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-8), name


@pytest.mark.parametrize("prior", [-1.0, float("nan")])
def test_a_prior_that_means_nothing(prior: float) -> None:
    with pytest.raises(LaloraError, match="prior must be a finite number"):
        lalora.fit(lora(), batches(rows(2), 2), prior=prior, progress=False, curvature="diagonal")


def test_exactly_zero_at_the_mean(fitted: tuple[torch.nn.Module, Laplace]) -> None:
    model, laplace = fitted
    assert float(laplace.penalty(model, 5.0).detach()) == 0.0
    assert laplace.forecast(model) == 0.0


def test_bfloat16_adapter_is_charged_in_float32() -> None:
    model = lora()
    laplace = lalora.fit(model, batches(rows(3), 3), labels="data", progress=False, curvature="diagonal")
    half = copy.deepcopy(model).to(torch.bfloat16)
    shake(half)
    wide = copy.deepcopy(half).float()
    value = laplace.penalty(half, 2.0)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value.detach(), laplace.penalty(wide, 2.0).detach())
    gradients = [parameter.grad for parameter in half.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.dtype == torch.bfloat16 for gradient in gradients)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_strength_that_means_nothing(fitted: tuple[torch.nn.Module, Laplace], strength: float) -> None:
    model, laplace = fitted
    with pytest.raises(LaloraError, match="strength must be a finite number"):
        laplace.penalty(model, strength)
    with pytest.raises(LaloraError, match="strength must be a finite number"):
        laplace.add_gradient(model, strength)


@pytest.mark.parametrize("settings", [{"labels": "data"}, {"combine": "sum"}, {"fisher": "batch"}])
def test_an_uncalibrated_forecast_says_so_once(settings: dict[str, str]) -> None:
    model = lora()
    laplace = lalora.fit(model, batches(rows(3), 3), progress=False, **{"curvature": "diagonal", **settings})
    with pytest.warns(UserWarning, match="not calibrated"):
        laplace.forecast(model)
    laplace.forecast(model)


def test_restore_mean(fitted: tuple[torch.nn.Module, Laplace]) -> None:
    model, laplace = fitted
    start = snapshot(model)
    shake(model)
    laplace.restore_mean(model)
    assert all(torch.equal(parameter, start[name]) for name, parameter in trainable_tensors(model).items())
