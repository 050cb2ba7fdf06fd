"""A finished run is known by its last file; one whose results were damaged since is named and done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.errors import RunsFailedError
from lalora.study import load_recipe, run_study
from tiny_study import outcome

RUN = "lora-seed-0"


@pytest.fixture
def recipe(recipe_file: Callable[..., str]) -> str:
    return recipe_file(grid=[{"method": "lora"}])


def study(recipe: str, folder: Path) -> list[str]:
    said: list[str] = []
    run_study(load_recipe(recipe), folder, "lalora run tiny", said.append)
    return said


def spoil_a_number(path: Path) -> None:
    text = path.read_text()
    assert '"target_loss": ' in text
    path.write_text(text.replace('"target_loss": ', '"target_loss": 1', 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("metrics.jsonl", spoil_a_number),
        ("metrics.jsonl", cut),
        ("metrics.jsonl", Path.unlink),
        ("adapter_model.safetensors", cut),
        ("done.json", cut),
    ],
)
def test_what_was_damaged_is_named_and_done_again(
    file: str, damage: Callable[[Path], Any], recipe: str, tmp_path: Path
) -> None:
    study(recipe, tmp_path)
    whole = outcome(tmp_path)
    damage(tmp_path / RUN / file)
    said = study(recipe, tmp_path)
    assert f"LoRA (1/1): {tmp_path / RUN / file} is damaged; the run is done again" in said
    assert outcome(tmp_path) == whole
    assert "LoRA (1/1): done already" in study(recipe, tmp_path)


def test_a_damaged_measurement_of_the_base_model_is_named_and_done_again(recipe: str, tmp_path: Path) -> None:
    study(recipe, tmp_path)
    (base,) = (tmp_path / "shared").glob("base-*.json")
    whole = base.read_bytes()
    cut(base)
    (tmp_path / RUN / "metrics.jsonl").unlink()
    assert f"measuring the base model: {base} is damaged" in study(recipe, tmp_path)
    assert base.read_bytes() == whole


def test_times_that_were_lost_are_no_reason_to_train_again(recipe: str, tmp_path: Path) -> None:
    study(recipe, tmp_path)
    (tmp_path / RUN / "timing.jsonl").unlink()
    assert "LoRA (1/1): done already" in study(recipe, tmp_path)


def test_the_folder_of_another_study_is_refused(recipe: str, tmp_path: Path) -> None:
    study(recipe, tmp_path / "study")
    other = tmp_path / "other.yaml"
    other.write_text(Path(recipe).read_text().replace("method: lora", "method: migu"))
    with pytest.raises(LaloraError, match="study holds the study 'tiny', this one is 'other'; choose another --out"):
        study(str(other), tmp_path / "study")
    assert not (tmp_path / "study" / "migu-seed-0").exists()


def test_a_run_that_its_method_refuses_does_not_stop_the_others(
    recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    # Of the layers' smaller side no more than that many singular directions can be had.
    recipe = recipe_file(grid=[{"method": "milora", "rank": 500}, {"method": "lora"}])
    with pytest.raises(RunsFailedError, match="1 of 2 runs are finished and kept"):
        study(recipe, tmp_path)
    assert (tmp_path / RUN / "done.json").exists()
