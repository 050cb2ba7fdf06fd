"""What parts of a run cost is measured before it, changes nothing of it, and needs no weights that a licence guards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lalora.methods import InTurn, Lora
from lalora.study import load_recipe, run_study
from lalora.study.dry_run.estimate import sizes
from lalora.study.recipe.settings import RunSettings, StudySettings
from lalora.study.run.costing import _Step
from lalora.study.setup.base_model import base_config, load_base, scale_note
from lalora.study.setup.context import common_identity
from tiny import batches, lora, rows, shake
from tiny_study import outcome

STEP = ["forward", "method", "backward", "optimizer"]
GRID: list[dict[str, Any]] = [
    {"method": "lora"},
    {"method": "lalora", "curvature": "kfac"},
    {"method": "milora"},
]


@pytest.fixture(scope="module")
def shaped() -> StudySettings:
    return load_recipe("paper/cost").study


def test_every_part_is_timed_and_the_runs_stay_as_they_are(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    quiet: list[str] = []
    timed = run_study(load_recipe(recipe_file(grid=GRID, timed_steps=2)), tmp_path / "timed", "", quiet.append)
    run_study(load_recipe(recipe_file(grid=GRID)), tmp_path / "plain", "", quiet.append)
    parts = [[row["part"] for row in run["costs"]] for run in timed["runs"]]
    assert parts == [["ready", *STEP], ["fit winogrande", "mode", *STEP], ["ready", *STEP]]
    for run in timed["runs"]:
        assert all(row["seconds"] > 0 for row in run["costs"])
        if Path("/proc/self/clear_refs").exists():
            # No less than Python with torch, no more than this machine has.
            assert all(1e8 < row["allocated"] <= row["peak"] < 1e12 for row in run["costs"])
        assert all(row["reserved"] is None for row in run["costs"])
    same = ("metrics.jsonl", "adapter_model.safetensors")
    both = [
        {name: content for name, content in outcome(tmp_path / of).items() if name.endswith(same)}
        for of in ("timed", "plain")
    ]
    assert both[0] == both[1]


def test_all_logits_give_the_loss_of_completion_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lora(seed=3)
    shake(model)
    model.train()
    (batch,) = batches(rows(4), 4)
    settings = RunSettings(steps=2)
    positions: list[int] = []
    model.get_base_model().register_forward_hook(lambda _, __, output: positions.append(output.logits.shape[1]))
    losses = [_Step(model, InTurn([Lora()]), batch, settings, every)._forward() for every in (False, True)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    assert losses[1].requires_grad
    chosen, every = positions
    assert chosen == int((batch["labels"][:, 1:] != -100).any(dim=0).sum()) < every == batch["input_ids"].shape[1]


def test_a_study_without_all_logits_is_the_study_it_always_was() -> None:
    study = load_recipe("paper/cost").study
    assert study.all_logits
    data: Any = SimpleNamespace(domains=[])
    kept = common_identity(study, data)["study"]
    assert kept["all_logits"] is True
    assert "all_logits" not in common_identity(study.model_copy(update={"all_logits": False}), data)["study"]


def test_what_was_timed_is_not_timed_again(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe, said = load_recipe(recipe_file(grid=GRID[:1], timed_steps=1)), list[str]()
    run_study(recipe, tmp_path, "", said.append)
    (tmp_path / "lora-seed-0" / "done.json").unlink()
    run_study(recipe, tmp_path, "", said.append)
    assert sum("timing the parts" in line for line in said) == 1


def test_a_shape_is_enough(shaped: StudySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lalora.study.setup.base_model.device", lambda: torch.device("cpu"))
    settings = load_recipe("paper/cost").runs[0].settings
    assert base_config(shaped).num_hidden_layers == 2
    # q: 3072 to 24 heads of 128, k: to 8 heads; A and B of rank 16, in two layers.
    assert sizes(shaped, settings).trained == 2 * 16 * ((3072 + 3072) + (3072 + 1024))
    assert "with 2 of its 28 layers and random weights" in str(scale_note(shaped))
    whole = shaped.model_copy(update={"layers": 28})
    assert base_config(whole).num_hidden_layers == 28
    assert "with all 28 layers" in str(scale_note(whole))
    monkeypatch.setattr("lalora.study.setup.base_model.device", lambda: torch.device("cuda"))
    assert base_config(shaped).num_hidden_layers == 28
    assert scale_note(shaped.model_copy(update={"random_weights": False})) is None


def test_random_weights_are_always_the_same(tiny_model: Path, document: dict[str, Any]) -> None:
    places = ("sources", "target")
    study = StudySettings(
        model=str(tiny_model), dtype="float32", random_weights=True, **{name: document["base"][name] for name in places}
    )
    first, second = (load_base(study).state_dict() for _ in range(2))
    stored = load_base(study.model_copy(update={"random_weights": False})).state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], second[name])
    assert first[name].shape == stored[name].shape
    assert not torch.equal(first[name], stored[name])
