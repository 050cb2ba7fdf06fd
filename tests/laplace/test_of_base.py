"""A Laplace that is fitted on a base model alone serves every adapter on it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import lalora
from lalora import LaloraError
from lalora.adapter import trainable_tensors
from lalora.laplace import refit
from lalora.laplace._card import card
from tiny import batches, llama, lora, rows, shake

KINDS = ["weight-kfac", "weight-diagonal"]
SOURCE = batches(rows(4), 2)


def of_base(kind: str = "weight-kfac", targets: str | list[str] = "all-linear", **options: Any) -> lalora.Laplace:
    return lalora.fit(llama(), SOURCE, curvature=kind, target_modules=targets, progress=False, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{"r": 1}, {"r": 8, "use_rslora": True}, {"r": 64, "lora_alpha": 3}], ids=str)
def test_it_charges_what_a_fit_on_the_adapter_charges(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    of_base(kind).save(tmp_path)
    shipped, model = lalora.Laplace.load(tmp_path), lora(**settings)
    own = lalora.fit(model, SOURCE, curvature=kind, progress=False)
    assert shipped.forecast(model) == 0
    shake(model)
    values = [laplace.penalty(model, 3.0) for laplace in (shipped, own)]
    assert values[0] > 0
    assert torch.allclose(values[0], values[1], rtol=1e-5)
    gradients = [torch.autograd.grad(value, list(trainable_tensors(model).values())) for value in values]
    for ours, wanted in zip(*gradients, strict=True):
        assert (ours - wanted).norm() <= 1e-5 * wanted.norm()
    assert shipped.forecast(model) == pytest.approx(own.forecast(model), rel=1e-5)


def test_one_serves_several_adapters_and_remembers_where_each_started() -> None:
    laplace, models = of_base(), [lora(r=1), lora(r=8)]
    for model in models:
        assert laplace.is_mean(model)
        shake(model)
        assert not laplace.is_mean(model)
    moved = [laplace.forecast(model) for model in models]
    assert all(value > 0 for value in moved)
    laplace.restore_mean(models[0])
    assert laplace.forecast(models[0]) == 0
    assert laplace.forecast(models[1]) == moved[1]


def test_an_adapter_on_some_of_the_layers_is_served() -> None:
    laplace, model = of_base(), lora(target_modules=["q_proj"])
    own = lalora.fit(model, SOURCE, curvature="weight-kfac", progress=False)
    laplace.check(model)
    shake(model)
    assert laplace.forecast(model) == pytest.approx(own.forecast(model), rel=1e-5)


def test_the_model_stays_as_it_was() -> None:
    model = llama()
    before = [(name, type(module)) for name, module in model.named_modules()]
    lalora.fit(model, SOURCE, curvature="weight-kfac", target_modules=["q_proj", "v_proj"], progress=False)
    assert [(name, type(module)) for name, module in model.named_modules()] == before
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    get_peft_model(model, LoraConfig())  # PEFT would warn of a model that it has been given before


def test_anchored_and_saved_it_measures_from_the_start_of_training(tmp_path: Path) -> None:
    laplace, model = of_base(), lora()
    laplace.anchored(model).save(tmp_path)
    shake(model)
    moved = lalora.Laplace.load(tmp_path).forecast(model)
    assert moved > 0
    with pytest.warns(UserWarning, match="already changes the base model where this Laplace first meets it"):
        assert of_base().forecast(model) == 0


def test_a_start_away_from_the_base_is_where_it_measures_from() -> None:
    model = lora(b_scale=0.3)
    own = lalora.fit(model, SOURCE, curvature="weight-kfac", progress=False)
    laplace = of_base()
    with pytest.warns(UserWarning, match="already changes the base model"):
        assert laplace.forecast(model) == 0
    shake(model)
    assert laplace.forecast(model) > 0
    assert own.forecast(model) > 0


def test_bfloat16_halves_the_file_and_hardly_changes_the_penalty(tmp_path: Path) -> None:
    laplace, model = of_base(), lora()
    sizes = []
    loaded = []
    for dtype in (None, torch.bfloat16):
        folder = tmp_path / str(dtype)
        laplace.save(folder, dtype)
        sizes.append(next(folder.glob("*.safetensors")).stat().st_size)
        loaded.append(lalora.Laplace.load(folder))
        loaded[-1].check(model)
    shake(model)
    assert sizes[1] < 0.75 * sizes[0]
    assert loaded[1].forecast(model) == pytest.approx(loaded[0].forecast(model), rel=0.02)


def test_a_share_of_the_trace_is_kept_and_the_rest_reported() -> None:
    assert of_base().averaged == 0
    assert 0 < of_base(factor_keep=0.9).averaged <= 0.1


def test_more_eigenvectors_than_the_data_support_are_not_made_up() -> None:
    with pytest.warns(UserWarning, match="factor_rank=16 is more than the source rows support"):
        lalora.fit(
            llama(),
            batches(rows(1), 1),
            curvature="weight-kfac",
            target_modules="all-linear",
            factor_rank=16,
            progress=False,
        )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a curvature over A and B": ({"curvature": "kfac", "target_modules": "all-linear"}, "'kfac' needs an adapter"),
    "no such module": ({"curvature": "weight-kfac", "target_modules": ["nothing"]}, "target_modules=.'nothing'.: "),
    "an embedding": ({"curvature": "weight-kfac", "target_modules": ["embed_tokens"]}, "plain linear LoRA layers only"),
    "no layers": ({"curvature": "weight-kfac"}, "give target_modules"),
    "no share": (
        {"curvature": "weight-kfac", "target_modules": "all-linear", "factor_keep": 1.5},
        "factor_keep must be less",
    ),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_fitted_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        lalora.fit(llama(), SOURCE, progress=False, **options)


def test_a_model_with_an_adapter_needs_no_target_modules() -> None:
    with pytest.raises(LaloraError, match="leave it out"):
        lalora.fit(lora(), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)


def test_layers_of_another_shape_are_refused() -> None:
    other = get_peft_model(llama(intermediate_size=24), LoraConfig(target_modules="all-linear"))
    with pytest.raises(LaloraError, match="'base_model.model.model.layers.0.mlp.gate_proj' is 24×16 here and 20×16"):
        of_base().penalty(other)


def test_layers_that_it_does_not_know_are_refused() -> None:
    with pytest.raises(LaloraError, match="changes layer '.*k_proj', of which this curvature knows nothing"):
        of_base(targets=["q_proj"]).penalty(lora(target_modules=["q_proj", "k_proj"]))


def test_another_base_model_is_refused() -> None:
    with pytest.raises(LaloraError, match="the model here is another"):
        of_base().penalty(lora(seed=9))


def test_a_merged_update_that_is_not_s_b_a_is_refused() -> None:
    with pytest.raises(LaloraError, match="use curvature='diagonal'"):
        of_base().penalty(lora(use_dora=True))


def test_fitted_again_in_the_middle_it_still_measures_from_where_it_met_the_adapter() -> None:
    laplace, model = of_base(), lora()
    laplace.check(model)
    shake(model)
    moved = laplace.forecast(model)
    again = refit(laplace, model, SOURCE, decay=0.999999, progress=False)
    assert again.forecast(model) == pytest.approx(moved, rel=1e-3)


def test_fitted_again_for_an_adapter_on_some_of_the_layers_that_share_an_input() -> None:
    laplace, model = of_base(), lora(target_modules=["up_proj", "down_proj"])
    laplace.check(model)
    shake(model)
    assert refit(laplace, model, SOURCE, progress=False).forecast(model) > 0


def test_a_second_adapter_on_one_model_has_a_start_of_its_own() -> None:
    laplace, model = of_base(), lora()
    laplace.check(model)
    shake(model)
    first = laplace.forecast(model)
    model.add_adapter("b", LoraConfig(r=4, target_modules="all-linear"))
    model.set_adapter("b")
    assert laplace.forecast(model) == 0
    model.set_adapter("default")
    assert laplace.forecast(model) == first


def test_it_pickles_without_the_models_that_it_met() -> None:
    laplace, model = of_base(), lora()
    laplace.check(model)
    shake(model)
    again = pickle.loads(pickle.dumps(laplace))
    fresh = lora()
    again.check(fresh)
    shake(fresh)
    assert again.forecast(fresh) == laplace.forecast(model)


def test_its_card_promises_no_start() -> None:
    laplace = of_base()
    text = card(laplace.provenance, laplace.size(), "me/curvature", "mit")
    assert "restore_mean" not in text
    assert "any rank and scale" in text
