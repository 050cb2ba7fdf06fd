"""What a study leaves behind, what its runs share, and how it refuses."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch
from filelock import FileLock
from peft import PeftModel

from lalora.adapter import snapshot
from lalora.assets import load_model, load_tokenizer
from lalora.errors import LaloraError, RunsFailedError
from lalora.evaluation import evaluate
from lalora.results import load_results, parse
from lalora.study import Recipe, load_recipe, run_study
from lalora.study.setup.data import evaluation_set, prepare
from lalora.study.setup.start import with_adapter
from lalora.study.store.records import read_rows

SAID: list[str] = []
RUNS = ["lora-seed-0", "lalora-strength-1-seed-0", "lalora-strength-10-seed-0"]


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", SAID.append)


Finished = tuple[Path, dict[str, Any], Recipe]


def test_a_study_leaves_runs_and_results(finished_study: Finished) -> None:
    folder, results, _ = finished_study
    assert load_results(folder) == parse(results)
    assert results["format"] == 1
    assert [run["name"] for run in results["runs"]] == RUNS
    assert all((folder / run / "config.json").stat().st_size > 0 for run in RUNS)
    assert results["name"] == "tiny"
    assert results["notes"] == []
    assert results["command"] == "lalora run tiny"
    assert results["versions"].keys() >= {"python", "lalora", "torch", "transformers", "peft", "lm_eval"}
    assert results["recipe"]["base"]["steps"] == 4
    assert not list(folder.rglob("checkpoint-*"))


def test_every_run_is_measured_before_at_the_chosen_steps_and_after(finished_study: Finished) -> None:
    _, results, _ = finished_study
    for run in results["runs"]:
        assert [row["step"] for row in run["curve"]] == [0, 2, 4]
        assert run["curve"][0] == results["base"]
        assert ["accuracy" in row for row in run["curve"]] == [True, False, True]
        assert run["final"] == run["curve"][-1]
        assert [row["step"] for row in run["train"]] == [1, 2, 3, 4]
        assert run["seconds"] >= run["step_seconds"] > 0
    assert results["base"]["source_kl"] == 0.0


def test_accuracy_is_measured_along_the_way_where_asked_for(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe = recipe_file(
        grid=[{"method": "lora"}], accuracy_rows=4, target_accuracy_rows=4, accuracy_at=[3], max_new_tokens=4
    )
    (run,) = study(recipe, tmp_path / "study")["runs"]
    measured = {row["step"]: {"source_accuracy", "target_accuracy"} <= row.keys() for row in run["curve"]}
    assert measured == {0: True, 2: False, 3: True, 4: True}


def test_penalty_and_forecast_are_logged_where_there_are_any(finished_study: Finished) -> None:
    plain, one, ten = finished_study[1]["runs"]
    assert plain["strength"] is None
    assert not any("penalty" in row for row in plain["train"])
    for run, strength in ((one, 1.0), (ten, 10.0)):
        assert run["strength"] == strength
        for row in run["train"]:
            assert row["penalty"] == pytest.approx(strength * row["forecast"])
        assert run["train"][-1]["forecast"] > 0


def test_methods_start_alike_and_see_the_same_batches(finished_study: Finished) -> None:
    # The gradients of the first step do not know of the penalty yet: Δ is zero.
    first = [run["train"][0] for run in finished_study[1]["runs"]]
    assert len({(row["loss"], row["grad_norm"]) for row in first}) == 1
    assert len({run["train"][-1]["loss"] for run in finished_study[1]["runs"]}) == 3


def test_one_fit_and_one_base_measurement_serve_all(finished_study: Finished) -> None:
    shared = finished_study[0] / "shared"
    assert len(list(shared.glob("laplace-*"))) == 1
    assert len(list(shared.glob("base-*.json"))) == 1


def test_every_run_says_how_far_which_weights_moved(finished_study: Finished) -> None:
    folder, results, _ = finished_study
    for run in results["runs"]:
        adapter = safetensors.torch.load_file(folder / run["folder"] / "adapter_model.safetensors")
        groups = run["precision_groups"]
        assert [group["group"] for group in groups] == ["flexible", "middle", "important"]
        assert sum(group["n"] for group in groups) == sum(tensor.numel() for tensor in adapter.values())
        # At B = 0 no gradient reaches A: its precision is zero.
        assert groups[0]["n"] == sum(tensor.numel() for name, tensor in adapter.items() if "lora_A" in name)
        assert all(group["change"] > 0 for group in groups)


def test_every_run_counts_its_weights_as_numpy_does(finished_study: Finished) -> None:
    folder, results, recipe = finished_study
    common = recipe.study
    start = snapshot(with_adapter(load_model(common.model, torch.float32), recipe.runs[0].settings))
    for run in results["runs"]:
        end = safetensors.torch.load_file(folder / run["folder"] / "adapter_model.safetensors")
        assert set(end) == set(start)
        before, after = (
            numpy.concatenate([tensors[n].double().flatten().numpy() for n in end]) for tensors in (start, end)
        )
        told, bins = run["weight_changes"], len(run["weight_changes"]["joint"])
        assert told["weights"] == before.size
        edges = [[m * (2 * k / bins - 1) for k in range(bins + 1)] for m in (abs(before).max(), abs(after).max())]
        counts, *_ = numpy.histogram2d(before, after, edges)
        assert numpy.array_equal(told["joint"], counts)
        change = abs(after - before)
        assert told["changes"] == numpy.histogram(change, [10 ** (-8 + k / 6) for k in range(55)])[0].tolist()
        assert told["unchanged"] == (change == 0).sum()
        assert counts.sum() == sum(told["changes"]) + told["unchanged"] + told["smaller"] + told["larger"]
        # The same weights by their precision move as far in the mean.
        mean = sum(group["n"] * group["change"] for group in run["precision_groups"]) / before.size
        assert change.mean() == pytest.approx(mean, rel=1e-5)


def test_a_study_that_fits_no_diagonal_knows_no_start(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    grid = [{"method": "lora"}, {"method": "lalora", "curvature": "kfac"}]
    for run in study(recipe_file(grid=grid, evaluate_at=[]), tmp_path / "study")["runs"]:
        assert (run["precision_groups"], run["weight_changes"]) == ([], None)


def test_the_kept_adapter_is_what_was_measured(finished_study: Finished, tmp_path: Path) -> None:
    folder, results, recipe = finished_study
    common = recipe.study
    base = load_model(common.model, torch.float32)
    study_data = prepare(common, load_tokenizer(common.model), base.config)
    model = PeftModel.from_pretrained(base, str(folder / RUNS[1]))
    row = evaluate(
        model,
        study_data.tokenizer,
        evaluation_set(common, study_data.domains, study_data.tokenizer, tmp_path / "tasks", common.scored_rows),
        4,
        accuracy=True,
    )
    assert row == results["runs"][1]["final"]


def test_what_a_study_leaves_can_be_read_by_whom_the_umask_allows(finished_study: Finished) -> None:
    umask = os.umask(0o077)
    os.umask(umask)
    for path in finished_study[0].rglob("*"):
        if path.is_file() and "cache" not in path.parts:
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, path


def test_strength_zero_is_plain_lora(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    study(recipe_file(grid=[{"method": "lora"}, {"method": "lalora", "strength": 0}]), tmp_path / "study")
    plain, free = (
        safetensors.torch.load_file(tmp_path / "study" / name / "adapter_model.safetensors")
        for name in ("lora-seed-0", "lalora-strength-0-seed-0")
    )
    assert all(torch.equal(plain[name], free[name]) for name in plain)


def test_curvatures_are_compared_like_methods(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    kinds = ["diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal"]
    grid = [{"method": "lalora", "strength": 1, "curvature": kinds, "factor_rank": 4, "prior": 0.1}]
    results = study(recipe_file(grid=grid), tmp_path / "study")
    assert [run["settings"]["curvature"] for run in results["runs"]] == kinds
    assert len(list((tmp_path / "study" / "shared").glob("laplace-*"))) == len(kinds)
    for run in results["runs"]:
        assert 0 < run["train"][-1]["forecast"] < run["train"][-1]["penalty"]  # λ = 1: the rest is the prior's
        # Only a diagonal has a precision for each weight, and it serves every run that starts where it was fitted.
        assert [group["group"] for group in run["precision_groups"]] == ["flexible", "middle", "important"]


def test_accumulated_micro_batches_are_one_batch(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    whole = study(recipe_file(batch_size=4), tmp_path / "whole")
    parts = study(recipe_file(batch_size=2, accumulation=2), tmp_path / "parts")
    for one, other in zip(whole["runs"], parts["runs"], strict=True):
        assert [row["loss"] for row in one["train"]] == pytest.approx([row["loss"] for row in other["train"]], rel=1e-4)


def test_seeds_differ_and_share_the_base(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    results = study(recipe_file(seeds=[0, 1], grid=[{"method": "lalora"}]), tmp_path / "study")
    first, second = results["runs"]
    assert first["curve"][0] == second["curve"][0]
    assert first["train"][0]["loss"] != second["train"][0]["loss"]
    assert first["label"] == second["label"]
    assert len(list((tmp_path / "study" / "shared").glob("laplace-*"))) == 2


def test_only_short_target_rows_are_used(recipe_file: Callable[..., str], tmp_path: Path, tiny_data: Path) -> None:
    with pytest.raises(LaloraError, match=r"gsm8k.*none of \d+ training rows has at most 5 tokens; raise max_length"):
        study(recipe_file(max_length=5), tmp_path / "study")


def test_a_diverged_run_is_named_and_the_others_are_kept(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    grid = [{"method": "lora"}, {"method": "lalora", "strength": 1e38}, {"method": "lalora", "strength": 1}]
    with pytest.raises(RunsFailedError, match=r"at step \d of LaLoRA λ=1e\+38.*2 of 3 runs are finished") as caught:
        study(recipe_file(grid=grid, learning_rate=1e3, max_grad_norm=1e30), folder)
    assert "\n" not in str(caught.value)
    assert [run.label for run in load_results(folder).runs] == ["LoRA", "LaLoRA λ=1"]


def test_a_folder_with_other_settings_is_refused_and_left_alone(
    recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    study(recipe_file(grid=[{"method": "lora"}]), folder)
    before = (folder / "lora-seed-0" / "metrics.jsonl").read_bytes()
    with pytest.raises(LaloraError, match=r"lora-seed-0 holds a run with other settings \(rank was 2 and is 3 now\)"):
        study(recipe_file(grid=[{"method": "lora"}], rank=3), folder)
    assert (folder / "lora-seed-0" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("config", [{"hidden_size": 16}, {"key": "k"}, {"key": "k", "identity": 3}, [1], "x"])
def test_a_folder_of_something_else_is_refused_and_left_alone(
    config: Any, recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    theirs = tmp_path / "study" / "lora-seed-0" / "config.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(json.dumps(config))
    with pytest.raises(LaloraError, match=r"config\.json: .*holds something else than a run; choose another --out"):
        study(recipe_file(accuracy_rows=1), tmp_path / "study")
    assert [path for path in (tmp_path / "study").rglob("*") if path.is_file()] == [theirs]
    assert json.loads(theirs.read_text()) == config


def test_other_data_is_noticed(recipe_file: Callable[..., str], tmp_path: Path, tiny_data: Path) -> None:
    own = tmp_path / "gsm8k.jsonl"
    lines = (tiny_data / "gsm8k.jsonl").read_text().splitlines(keepends=True)
    own.write_text("".join(lines))
    recipe = recipe_file(grid=[{"method": "lora"}], target={"gsm8k": str(own)})
    study(recipe, tmp_path / "study")
    own.write_text("".join(lines[:-4]))
    with pytest.raises(LaloraError, match="holds a run with other settings"):
        study(recipe, tmp_path / "study")


def test_two_at_once_in_one_folder_are_refused(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(LaloraError, match="another lalora is at work here"):
        study(recipe_file(), tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LaloraError, match=r"file/study: cannot be written \(Not a directory\); choose another --out"):
        study(recipe_file(), tmp_path / "file" / "study")


def test_a_full_disk_is_refused_before_training(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 2**20

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(LaloraError, match=r"1 MiB free, about 64 MiB needed; make room or choose another --out"):
        study(recipe_file(), tmp_path / "study")
    assert not (tmp_path / "study").exists()

    monkeypatch.setattr("lalora.study.store.folder._LEAST_ROOM", 2**19)
    with pytest.raises(LaloraError, match=r"1 MiB free, about 2 MiB needed; make room or choose another --out"):
        study(recipe_file(rank=100, accuracy_rows=1), tmp_path / "new" / "study")
    assert not (tmp_path / "new").exists()


def test_an_adapter_that_matches_no_module_is_refused(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(LaloraError, match=r"target_modules=\{'qq_proj'\}: .*not found") as caught:
        study(recipe_file(target_modules=["qq_proj"], accuracy_rows=1), tmp_path / "study")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "study").exists()


def test_a_missing_data_file_is_named(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(LaloraError, match=r"there is no data file .*gone\.jsonl"):
        study(recipe_file(target={"gsm8k": str(tmp_path / "gone.jsonl")}), tmp_path / "study")


def test_a_prompt_longer_than_the_context_is_refused(
    recipe_file: Callable[..., str], tmp_path: Path, tiny_data: Path
) -> None:
    rows = [json.loads(line) for line in (tiny_data / "gsm8k.jsonl").read_text().splitlines()]
    for row in rows:
        row["question"] *= 40
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(LaloraError, match="tokens but the context holds 128"):
        study(recipe_file(target={"gsm8k": str(path)}), tmp_path / "study")


def test_a_truncated_shared_laplace_is_refused(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    grid = [{"method": "lalora", "strength": [1]}]
    study(recipe_file(grid=grid), folder)
    (kept,) = folder.glob("shared/laplace-*/laplace-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(LaloraError, match=r"laplace-\w+\.safetensors' is truncated or altered"):
        study(recipe_file(grid=[{"method": "lalora", "strength": [1, 2]}]), folder)


def test_metrics_are_json_lines_of_evaluations_and_steps(finished_study: Finished) -> None:
    rows = read_rows(finished_study[0] / RUNS[0] / "metrics.jsonl")
    assert [(row["step"], row["kind"]) for row in rows] == [
        (0, "eval"), (1, "train"), (2, "eval"), (2, "train"), (3, "train"), (4, "train"), (4, "eval"),
    ]  # fmt: skip
