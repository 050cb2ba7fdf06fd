"""Fitting again in the middle of training, and going on to the next task with both curvatures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

import lalora
from lalora import LaloraError
from lalora.adapter import trainable_tensors
from lalora.curvature import Diagonal, Kfac, WeightSpace
from lalora.laplace import refit
from lalora.laplace._anchors import anchors_of
from tiny import batches, lora, rows, shake

KINDS = ["diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal"]
SOURCE = batches(rows(6), 3)


def fitted(model: PeftModel, kind: str = "diagonal", seed: int = 0) -> lalora.Laplace:
    return lalora.fit(model, SOURCE, curvature=kind, seed=seed, progress=False)


def moved(model: PeftModel, mean: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: parameter.detach() - mean.get(name, torch.zeros(()))
        for name, parameter in trainable_tensors(model).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_at_the_start_whatever_the_decay(kind: str) -> None:
    model = lora()
    laplace = fitted(model, kind)
    again = refit(laplace, model, SOURCE, decay=0.3, progress=False)
    shake(model)
    assert again.forecast(model) == pytest.approx(laplace.forecast(model), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_stays_and_the_curvature_is_a_running_mean(kind: str) -> None:
    model = lora()
    laplace = fitted(model, kind)
    shake(model, 0.3)
    there = fitted(model, kind, seed=5)
    again = refit(laplace, model, SOURCE, decay=0.25, seed=5, progress=False)
    assert again.mean.keys() == laplace.mean.keys()
    assert all(torch.equal(again.mean[name], laplace.mean[name]) for name in laplace.mean)
    assert again.forecast(model) > 0
    if kind == "diagonal":
        assert isinstance(laplace.curvature, Diagonal) and isinstance(there.curvature, Diagonal)
        delta, wanted = moved(model, laplace.mean), 0.0
        for share, part in ((0.25, laplace.curvature), (0.75, there.curvature)):
            wanted += share * sum(float((d * delta[n].square()).sum()) for n, d in part.precision.items()) / 2
        assert again.forecast(model) == pytest.approx(wanted, rel=1e-5)
    if kind == "kfac":
        assert isinstance(again.curvature, Kfac) and isinstance(there.curvature, Kfac)
        assert isinstance(laplace.curvature, Kfac)
        found, parts = again.curvature.factors, (laplace.curvature.factors, there.curvature.factors)
        for layer in found.layers:
            for which in ("x", "g"):
                first, second = (getattr(part, which)(layer).dense() for part in parts)
                mean = 0.25 * first + 0.75 * second
                assert (getattr(found, which)(layer).dense() - mean).norm() <= 1e-5 * mean.norm()
        # Where B is no longer zero, A has curvature too.
        assert any("lora_A" in name for name in again.curvature.names)


def test_a_running_mean_of_the_weight_space_measures_from_the_start() -> None:
    model = lora()
    laplace = fitted(model, "weight-kfac")
    shake(model, 0.3)
    again = refit(laplace, model, SOURCE, decay=0.5, progress=False)
    again.restore_mean(model)
    assert again.forecast(model) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_two_tasks_add_up_around_where_the_second_starts(kind: str, tmp_path: Path) -> None:
    model = lora()
    first = fitted(model, kind)
    shake(model, 0.2)
    start = anchors_of(model, kind)
    second = lalora.fit(model, batches(rows(4, seed=3), 2), curvature=kind, progress=False)
    both = first + second
    both.save(tmp_path)
    both = lalora.Laplace.load(tmp_path)
    assert both.is_mean(model)
    assert both.penalty(model).item() == 0
    shake(model, 0.1, seed=8)
    delta = moved(model, second.mean)
    parts = [float(second.curvature.quadratic(delta)) / 2]
    assert isinstance(first.curvature, WeightSpace) == kind.startswith("weight")
    of_first = first.curvature.anchored(start) if isinstance(first.curvature, WeightSpace) else first.curvature
    parts.append(float(of_first.quadratic(delta)) / 2)
    assert all(part > 0 for part in parts)
    assert both.penalty(model, 1.0).item() == pytest.approx(sum(parts), rel=1e-4)
    with pytest.warns(UserWarning, match="not calibrated: it adds up the drifts on the text of 2 tasks"):
        both.forecast(model)


def test_of_different_models_they_do_not_add_up() -> None:
    with pytest.raises(LaloraError, match="of one adapter"):
        fitted(lora()) + fitted(lora(r=2))
    with pytest.raises(LaloraError, match="the model here is another"):
        fitted(lora()) + fitted(lora(seed=4))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_no_share_is_refused(decay: float) -> None:
    model = lora()
    with pytest.raises(LaloraError, match="refit_decay must be at least 0 and below 1"):
        refit(fitted(model), model, SOURCE, decay=decay, progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_automatic_prior_is_the_mean_eigenvalue(kind: str, tmp_path: Path) -> None:
    """Hutchinson in full: the mean of zᵀΛz over the unit vectors of the weights with a penalty, or of ΔW, times one."""
    # Two layers with the same input and one with another.
    model = lora(b_scale=0.3, target_modules=["q_proj", "v_proj", "down_proj"], layers_to_transform=[1])
    laplace = fitted(model, kind)
    laplace.save(tmp_path)
    auto = lalora.Laplace.load(tmp_path, prior="auto")
    if kind in ("weight-kfac", "weight-diagonal"):
        trace, size = dense_weight_trace(model, kind)
        assert auto.prior == pytest.approx(trace / size, rel=1e-4)
        return
    zero = {name: torch.zeros_like(parameter) for name, parameter in trainable_tensors(model).items()}
    total, count = 0.0, 0
    for name in laplace.curvature.names:
        for index in range(zero[name].numel()):
            unit = {**zero, name: zero[name].clone()}
            unit[name].view(-1)[index] = 1.0
            total += float(laplace.curvature.quadratic(unit))
            count += 1
    assert auto.prior == pytest.approx(total / count, rel=1e-4)


def dense_weight_trace(model: PeftModel, kind: str) -> tuple[float, int]:
    laplace = fitted(model, kind)
    tensors = laplace.curvature.tensors()
    if kind == "weight-diagonal":
        blocks = [tensor for name, tensor in tensors.items() if name.startswith("F/")]
        return sum(float(block.double().sum()) for block in blocks), sum(block.numel() for block in blocks)
    factors = laplace.curvature.factors  # type: ignore[attr-defined]
    kron = [
        torch.kron(factors.x(layer).dense().contiguous(), factors.g(layer).dense().contiguous())
        for layer in factors.layers
    ]
    return sum(float(matrix.trace()) for matrix in kron), sum(len(matrix) for matrix in kron)


@pytest.mark.parametrize("prior", ["much", -1.0])
def test_a_prior_that_means_nothing_is_refused(prior: float | str, tmp_path: Path) -> None:
    model = lora()
    fitted(model).save(tmp_path)
    with pytest.raises(LaloraError, match="prior must be a"):
        lalora.Laplace.load(tmp_path, prior=prior)
    with pytest.raises(LaloraError, match="prior must be a"):
        lalora.fit(model, SOURCE, prior=prior, progress=False, curvature="diagonal")


@pytest.mark.parametrize("kind", ["kfac", "tri-kfac"])
def test_the_automatic_prior_of_a_file_in_bfloat16(kind: str, tmp_path: Path) -> None:
    laplace = fitted(lora(b_scale=0.3), kind)
    laplace.save(tmp_path, torch.bfloat16)
    narrow = lalora.Laplace.load(tmp_path, prior="auto").prior
    assert narrow == pytest.approx(laplace.curvature.mean_eigenvalue(), rel=0.02)


def test_several_tasks_cannot_be_fitted_again() -> None:
    model = lora()
    with pytest.raises(LaloraError, match="of several tasks cannot be fitted again"):
        refit(fitted(model) + fitted(model), model, SOURCE, progress=False)


def test_datasets_that_are_kept_apart_are_wanted_again_in_order() -> None:
    model = lora()
    two = {"a": SOURCE, "b": batches(rows(3, seed=4), 3)}
    laplace = lalora.fit(model, two, curvature="kfac", combine="separate", progress=False)
    refit(laplace, model, two, progress=False)
    with pytest.raises(LaloraError, match=r"give \['a', 'b'\] again, in this order"):
        refit(laplace, model, dict(reversed(two.items())), progress=False)


def test_nothing_grows_however_often_it_is_fitted_again() -> None:
    model = lora()
    one = batches(rows(1), 1)
    laplace = lalora.fit(model, one, curvature="weight-kfac", progress=False)
    sizes = {name: tensor.shape for name, tensor in laplace.curvature.tensors().items() if name.endswith("vectors")}
    for seed in range(3):
        shake(model, seed=seed)
        laplace = refit(laplace, model, one, seed=seed, progress=False)
    now = {name: tensor.shape for name, tensor in laplace.curvature.tensors().items() if name.endswith("vectors")}
    assert all(now[name][1] <= size[1] for name, size in sizes.items())
