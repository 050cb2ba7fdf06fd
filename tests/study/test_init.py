"""Where A starts: uniform or normal, what that changes of a run, and what it leaves as it was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lalora
from lalora.adapter import linear_pairs, trainable_tensors
from lalora.errors import LaloraError
from lalora.methods import LaLoRA
from lalora.study import load_recipe, run_study
from lalora.study.recipe.settings import RunSettings
from lalora.study.run.forecasting import _fitted
from lalora.study.setup.context import Context
from lalora.study.setup.start import with_adapter
from lalora.study.store.identity import key
from tiny import batches, llama, rows

RANK, WIDE, NARROW = 8, 1536, 576


def start(init: str, seed: int = 0) -> dict[str, torch.Tensor]:
    base = llama(hidden_size=NARROW, intermediate_size=WIDE, num_hidden_layers=1)
    settings = RunSettings.model_validate({"steps": 1, "rank": RANK, "alpha": 16, "init": init, "seed": seed})
    return {name: tensor.detach().clone() for name, tensor in trainable_tensors(with_adapter(base, settings)).items()}


@pytest.mark.parametrize("init", ["kaiming", "gaussian"])
def test_every_layer_has_the_spread_that_the_name_says(init: str) -> None:
    tensors = start(init)
    seen = {}
    for name, tensor in tensors.items():
        if "lora_B" in name:
            assert not tensor.any()
            continue
        inputs = tensor.shape[1]
        seen[inputs] = seen.get(inputs, 0) + 1
        # Of n = 8·576 or more draws a deviation is known to about 1/√(2n), 1 %.
        expected = 1 / math.sqrt(3 * inputs) if init == "kaiming" else 1 / RANK
        assert float(tensor.std()) == pytest.approx(expected, rel=0.05)
        # The uniform's largest is its bound 1/√d_in; of as many normal draws it lies beyond three deviations.
        largest = float(tensor.abs().max())
        if init == "kaiming":
            assert 0.99 / math.sqrt(inputs) < largest <= 1 / math.sqrt(inputs)
        else:
            assert largest > 3 / RANK
    assert seen == {NARROW: 6, WIDE: 1}


@pytest.mark.parametrize("init", ["kaiming", "gaussian"])
def test_a_seed_decides_the_start(init: str) -> None:
    first, again, other = start(init), start(init), start(init, seed=1)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "lora_A" in name)


def test_a_run_with_the_usual_start_is_the_run_that_it_was(recipe_file: Callable[..., str]) -> None:
    grid = [{"method": "lora"}, {"method": "lora", "init": ["kaiming", "gaussian"]}]
    silent, said, gaussian = load_recipe(recipe_file(grid=grid)).runs
    assert list(silent.effective) == [
        *("method", "seed", "rank", "alpha", "dropout", "target_modules", "steps", "batch_size", "accumulation"),
        *("learning_rate", "schedule", "warmup_steps", "weight_decay", "max_grad_norm"),
    ]
    assert key(said.effective) == key(silent.effective) != key(gaussian.effective)
    assert gaussian.effective["init"] == "gaussian"
    assert (gaussian.label, gaussian.name) == ("LoRA init=gaussian", "lora-init-gaussian-seed-0")


def test_a_method_with_a_start_of_its_own_looks_at_no_init(recipe_file: Callable[..., str]) -> None:
    grid = [{"method": "milora"}, {"method": "corda"}, {"method": "lora"}]
    replaced, of_source, plain = load_recipe(recipe_file(init="gaussian", grid=grid)).runs
    assert "init" not in replaced.effective | of_source.effective
    assert plain.effective["init"] == "gaussian"
    with pytest.raises(LaloraError, match="method 'milora' has no 'init'"):
        load_recipe(recipe_file(grid=[{"method": "milora", "init": "gaussian"}]))
    with pytest.raises(LaloraError, match="'init' is 'normal'"):
        load_recipe(recipe_file(grid=[{"method": "lora", "init": "normal"}]))


def test_fits_of_other_starts_are_kept_apart(tmp_path: Path) -> None:
    nothing: Any = None
    context = Context(nothing, nothing, nothing, nothing, {"study": "tiny"}, tmp_path, print)
    kaiming = RunSettings(steps=1)
    gaussian = kaiming.model_copy(update={"init": "gaussian"})
    one, other = (context.laplace_folder(settings, LaLoRA(), None) for settings in (kaiming, gaussian))
    assert one != other
    # Where a method writes over A the two are one.
    milora = {"method": "milora"}
    assert context.laplace_folder(kaiming, LaLoRA(), milora) == context.laplace_folder(gaussian, LaLoRA(), milora)
    assert _fitted(gaussian).init == "gaussian"


def test_a_study_compares_both_starts(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    grid = [{"method": "lalora", "strength": 1, "init": ["kaiming", "gaussian"]}, {"method": "milora"}]
    recipe = load_recipe(recipe_file(grid=grid, steps=1, evaluate_at=[], curvature="diagonal"))
    runs = run_study(recipe, tmp_path / "study", "lalora run tiny", lambda _: None)["runs"]
    assert len(list((tmp_path / "study" / "shared").glob("laplace-*"))) == 2
    chosen = [json.loads((tmp_path / "study" / run["folder"] / "adapter_config.json").read_text()) for run in runs]
    assert [config["init_lora_weights"] for config in chosen] == [True, "gaussian", True]
    usual, normal, _ = (run["precision_groups"] for run in runs)
    # As many weights without precision, all of A, and another precision for those of B.
    assert [group["n"] for group in usual] == [group["n"] for group in normal]
    assert usual[0]["mean"] == normal[0]["mean"] == 0
    assert usual[2]["mean"] < normal[2]["mean"]


def test_the_mean_precision_grows_with_the_variance_of_a() -> None:
    batch = batches(rows(4), 4)
    found = {}
    for init in ("kaiming", "gaussian"):
        traces = []
        for seed in range(40):
            settings = RunSettings.model_validate(
                {"steps": 1, "rank": RANK, "init": init, "seed": seed, "target_modules": ["q_proj"]}
            )
            model = with_adapter(llama(), settings)
            fit = lalora.fit(model, batch, fisher="batch", labels="data", curvature="diagonal", progress=False)
            traces.append(sum(float(d.sum()) for d in fit.curvature.precision.values()))
            assert [pair.b for pair in linear_pairs(model)] == sorted(fit.curvature.precision)
        found[init] = sum(traces) / len(traces)
    # E A² is 1/(3·16) and 1/8²; the trace is linear in it.
    assert found["gaussian"] / found["kaiming"] == pytest.approx(3 * 16 / RANK**2, rel=0.15)
