"""The command line as a user meets it: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import LoraConfig, get_peft_model

from drawn_once import no_files_of_pictures
from lalora.assets import load_model, statuses
from lalora.assets.store import MANIFEST
from lalora.laplace import Laplace
from lalora.study.recipe.plan import RunPlan
from lalora.version import __version__

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pages_only() -> Iterator[None]:
    """Pages are drawn, files of pictures are not: they take seconds."""
    with no_files_of_pictures():
        yield


@pytest.mark.usefixtures("pages_only")
def test_run_ends_with_a_table_and_a_report(run: Run, recipe_file: Callable[..., str], tmp_path: Path) -> None:
    status, out, err = run("run", recipe_file())
    assert status == 0
    assert "LaLoRA λ=10" in out
    assert "Plain LoRA lowered" in out or "Plain LoRA did not learn" in out
    assert out.strip().endswith("report: runs/tiny/report.html")
    assert "measuring the base model" in err
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    assert results["command"] == f"lalora run {tmp_path / 'tiny.yaml'}"

    status, out, err = run("run", recipe_file())
    assert status == 0
    assert err.count("done already") == 3

    (tmp_path / "runs" / "tiny" / "report.html").unlink()
    status, out, _ = run("report", "runs/tiny")
    assert status == 0
    assert "LaLoRA λ=10" in out
    assert (tmp_path / "runs" / "tiny" / "report.html").exists()
    shutil.copytree("runs/tiny", "runs/twin")
    assert run("report", "runs/tiny", "runs/twin")[0] == 2
    assert run("report", "runs/tiny", "runs/twin", "--out", "both")[0] == 0
    # The same runs with the same results stand once.
    assert (tmp_path / "both" / "results.md").read_text().count("| LoRA |") == 1


@pytest.mark.usefixtures("pages_only")
def test_overrides_and_out(run: Run, recipe_file: Callable[..., str], tmp_path: Path) -> None:
    status, _, _ = run(
        "run", recipe_file(), "--out", tmp_path / "here", "--set", "grid=[{method: lora}]", "--set", "steps=2"
    )
    assert status == 0
    assert json.loads((tmp_path / "here" / "results.json").read_text())["runs"][0]["final"]["step"] == 2


def test_list_names_the_built_in_recipes(run: Run) -> None:
    status, out, _ = run("run", "--list")
    assert status == 0
    width = max(len(line.split()[0]) for line in out.splitlines())
    assert {line[width : width + 2] for line in out.splitlines()} == {"  "}
    assert not any(line[width + 2].isspace() for line in out.splitlines())
    assert [line.split()[0] for line in out.splitlines()] == [
        "after-training",
        "budgets",
        "calibration",
        "curvatures",
        "paper/batches",
        "paper/cost",
        "paper/flat-lora",
        "paper/kfac",
        "paper/kfac-two-batches",
        "paper/llama-3.1-8b",
        "paper/math",
        "paper/per-dataset",
        "paper/rank",
        "paper/source-data",
        "paper/table-1",
        "paper/table-2",
        "paper/table-4",
        "paper/training-length",
        "paper/update-pattern",
        "quickstart",
        "rivals",
        "small/batches",
        "small/flat-lora",
        "small/kfac",
        "small/per-dataset",
        "small/rank",
        "small/source-data",
        "small/table-1",
        "small/table-2",
        "small/table-4",
        "small/training-length",
        "small/update-pattern",
        "smoke",
        "softened",
        "together",
    ]


def test_version_and_help(run: Run) -> None:
    assert run("--version")[:2] == (0, f"lalora {__version__}\n")
    assert all(
        name in run("--help")[1] for name in ("run", "fit", "train", "push", "evaluate", "report", "methods", "assets")
    )


def test_mistakes_in_a_study_are_one_line(refused: Callable[..., str], recipe_file: Callable[..., str]) -> None:
    assert "no recipe 'quickstrat': built in are after-training, budgets, calibration, curvatures" in refused(
        "run", "quickstrat"
    )
    assert "which recipe? `lalora run quickstart`" in refused("run")
    assert "line 20: unknown key 'modle': did you mean 'model'?" in refused("run", recipe_file(modle=3))
    assert "--set strength=-1: 'strength' is -1" in refused("run", recipe_file(), "--set", "strength=-1")
    assert "results.json: not found" in refused("report", "nowhere")
    assert "nowhere is given twice: give each study once" in refused("report", "nowhere", "./nowhere", "--out", "both")


def test_an_unknown_option_is_a_usage_error(run: Run) -> None:
    status, _, err = run("run", "--nonsense")
    assert status == 2
    assert "No such option" in err


def test_ctrl_c_keeps_and_says_how_to_go_on(
    run: Run, recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    recipe = recipe_file()
    with monkeypatch.context() as patched:
        patched.setattr("lalora.study.runners.run_study.train_run", interrupted)
        status, _, err = run("run", recipe)
    assert status == 130
    last = err.strip().splitlines()[-1]
    assert last == (f"interrupted: finished runs and checkpoints are kept in runs/tiny; to go on: lalora run {recipe}")


@pytest.mark.usefixtures("pages_only")
def test_ctrl_c_and_divergence_still_draw_what_there_is(
    run: Run, recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lalora.study.runners.run_study import train_run

    def interrupted(plan: RunPlan, *rest: Any) -> None:
        if plan.name == "lalora-strength-1-seed-0":
            raise KeyboardInterrupt
        train_run(plan, *rest)

    with monkeypatch.context() as patched:
        patched.setattr("lalora.study.runners.run_study.train_run", interrupted)
        status, _, err = run("run", recipe_file(), "--out", "stopped")
    assert status == 130
    assert err.strip().splitlines()[-1].startswith("interrupted: ")
    assert (tmp_path / "stopped" / "report.html").exists()

    grid = [{"method": "lora"}, {"method": "lalora", "strength": 1e38}]
    status, _, err = run("run", recipe_file(grid=grid, learning_rate=1e3, max_grad_norm=1e30), "--out", "diverged")
    assert status == 2
    assert err.strip().splitlines()[-1].endswith("1 of 2 runs are finished and kept in diverged")
    assert (tmp_path / "diverged" / "report.html").exists()


@pytest.mark.parametrize("place", ["lalora.assets.fetch", "lalora.cli.console.quiet_libraries"])
def test_ctrl_c_at_any_time_is_one_line(place: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(place, interrupted)
        status, out, err = run("assets", "fetch", "smollm2-135m")
    assert (status, out) == (130, "")
    assert err.startswith("\ninterrupted: ")
    assert err.endswith("run the same command again\n")
    assert err.count("\n") == 2


@pytest.mark.parametrize("module", ["typer", "torch"])
def test_ctrl_c_during_the_first_import_is_one_line(module: str) -> None:
    interrupted = """
import sys

module = sys.argv[1]
sys.argv[1] = "methods"

class Interrupted:
    def find_spec(name, *rest):
        if name == module:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted)
from lalora.cli.main import main

main()
"""
    ended = subprocess.run([sys.executable, "-c", interrupted, module], check=False, capture_output=True, text=True)
    assert ended.returncode == 130
    assert ended.stderr == "\ninterrupted: run the same command again\n"


def test_a_disk_that_fills_up_while_training_is_one_line(
    refused: Callable[..., str], recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "runs/tiny/x")

    monkeypatch.setattr("lalora.study.run.train_run.append_row", full)
    assert "error: runs/tiny/x: No space left on device; what was finished is kept" in refused("run", recipe_file())


def test_fit_then_train_then_evaluate_ones_own_model(run: Run, mine: dict[str, Any], tmp_path: Path) -> None:
    options = ("--dtype", "float32")
    status, _, err = run(
        "fit", mine["model"], "--source", mine["source"], "--rank", 2, "--alpha", 4, "--rows", 3, *options,
        "--target-modules", "q_proj", "--target-modules", "v_proj",
    )  # fmt: skip
    assert status == 0
    assert "next: lalora train" in err
    laplace = Laplace.load(tmp_path / "laplace")
    assert laplace.provenance.datasets[0].rows == 3

    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    train = (
        "train",
        mine["model"],
        "--target",
        target,
        "--laplace",
        "laplace",
        "--steps",
        3,
        "--batch-size",
        2,
        *options,
    )
    status, out, _ = run(*train, "--scored-rows", 3)
    assert status == 0
    assert out.startswith("learned: target loss ")
    adapter = safetensors.torch.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert set(adapter) == set(laplace.shapes)
    b = [name for name in adapter if "lora_B" in name]
    assert all(adapter[name].any() for name in b)
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 3]
    assert all("penalty" in row for row in rows if row["kind"] == "train")

    status, out, _ = run(
        "evaluate", mine["model"], "adapter", "--source", mine["source"], "--target", target, "--rows", 3,
        "--out", "new/numbers.json", *options,
    )  # fmt: skip
    assert status == 0
    assert "winogrande" in out
    numbers = json.loads((tmp_path / "new" / "numbers.json").read_text())
    assert numbers["base"]["kl"]["winogrande"] == 0
    assert numbers["adapter"]["kl"]["winogrande"] > 0
    assert numbers["adapter"]["loss"]["gsm8k"] == rows[-1]["loss"]["gsm8k"]


def test_a_fit_of_the_base_model_serves_an_adapter_of_any_rank(
    run: Run, refused: Callable[..., str], mine: dict[str, Any], tmp_path: Path
) -> None:
    fit = ("fit", mine["model"], "--source", mine["source"], "--rows", 3, "--dtype", "float32", "--base")
    assert "needs an adapter" in refused(*fit, "--curvature", "diagonal")
    assert "say --factor-rank" in refused(*fit, "--curvature", "weight-kfac", "--rank", 8)
    assert run(*fit, "--factor-keep", 0.95, "--prior", "auto")[0] == 0
    laplace = Laplace.load(tmp_path / "laplace")
    assert laplace.of_base
    assert laplace.prior > 0
    assert 0 < laplace.averaged <= 0.05
    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    for rank in (1, 4):
        train = ("train", mine["model"], "--target", target, "--laplace", "laplace", "--steps", 2, "--rank", rank)
        assert run(*train, "--dtype", "float32", "--out", f"adapter-{rank}")[0] == 0
        metrics = (tmp_path / f"adapter-{rank}" / "metrics.jsonl").read_text().splitlines()
        assert any(json.loads(line).get("penalty", 0) > 0 for line in metrics)


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(run: Run, recipe_file: Any, tmp_path: Path) -> None:
    code, out, _ = run("run", recipe_file(), "--dry-run", "--out", "study")
    assert code == 0
    assert "3 runs of " in out
    assert "3 to do" in out
    assert "memory: " in out
    assert "training: about 0:00:" in out
    assert not (tmp_path / "study").exists()


def test_the_schema_knows_every_key(run: Run, document: dict[str, Any]) -> None:
    code, out, _ = run("run", "--schema")
    assert code == 0
    schema = json.loads(out)
    base, entry = schema["properties"]["base"]["properties"], schema["properties"]["grid"]["items"]["properties"]
    assert set(document) <= set(schema["properties"])
    assert set(document["base"]) <= set(base)
    assert all(setting["description"] for setting in [*base.values(), *entry.values()])
    assert {"type": "array", "items": entry["rank"]["anyOf"][0]} in entry["rank"]["anyOf"]
    assert "seed" not in base


def test_without_any_source_the_base_model_writes_the_text(run: Run, mine: dict[str, Any], tmp_path: Path) -> None:
    fit = ("fit", mine["model"], "--self-source", 5, "--rank", 2, "--dtype", "float32")
    assert run(*fit, "--seed", 3, "--out", "written")[0] == 0
    first, *texts = [json.loads(line) for line in (tmp_path / "written" / "self-source.jsonl").read_text().splitlines()]
    assert (first["rows"], first["seed"], first["temperature"], first["length"]) == (5, 3, 1.0, 128)
    assert len(texts) == 5
    (dataset,) = Laplace.load(tmp_path / "written").provenance.datasets
    assert (dataset.name, dataset.rows) == ("self", 5)
    assert dataset.tokens == sum(len(text["input_ids"]) - 1 for text in texts)


def test_self_written_text_and_a_source_are_two(refused: Callable[..., str], mine: dict[str, Any]) -> None:
    assert "leave one of them out" in refused("fit", mine["model"], "--self-source", 5, "--source", mine["source"])


def test_train_without_a_laplace_is_plain_lora_and_is_not_done_twice(
    run: Run, mine: dict[str, Any], tmp_path: Path
) -> None:
    train = (
        "train", mine["model"], "--target", f"gsm8k={mine['data'] / 'gsm8k.jsonl'}", "--steps", 2, "--rank", 2,
        "--dtype", "float32", "--out", "plain",
    )  # fmt: skip
    assert run(*train)[0] == 0
    before = (tmp_path / "plain" / "adapter_model.safetensors").stat().st_mtime_ns
    assert run(*train)[0] == 0
    assert (tmp_path / "plain" / "adapter_model.safetensors").stat().st_mtime_ns == before
    config = json.loads((tmp_path / "plain" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 32)


def test_a_laplace_of_another_model_or_damaged_is_refused(
    run: Run, refused: Callable[..., str], mine: dict[str, Any], tmp_path: Path
) -> None:
    run("fit", mine["model"], "--source", mine["source"], "--rank", 2, "--rows", 2, "--dtype", "float32")
    from tiny import llama

    llama(9, vocab_size=40, max_position_embeddings=128).save_pretrained(tmp_path / "other")
    for file in mine["model"].glob("token*"):
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    said = refused("train", tmp_path / "other", "--target", target, "--laplace", "laplace", "--dtype", "float32")
    assert "and the model here is another" in said
    weights = next((tmp_path / "laplace").glob("*.safetensors"))
    flipped = bytearray(weights.read_bytes())
    flipped[-3] ^= 1
    weights.write_bytes(flipped)
    said = refused("train", mine["model"], "--target", target, "--laplace", "laplace", "--out", "new")
    assert "truncated or altered" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit", "{model}", "--source", "winogrnd"), "no domain is called 'winogrnd'; there are winogrande"),
        (("fit", "{model}", "--source", "winogrande="), "the place after = is missing"),
        (("fit", "{model}", "--source", "winogrande=x.jsonl"), "there is no data file x.jsonl"),
        (("fit", "./nowhere", "--source", "{source}"), "there is no model folder ./nowhere"),
        (("fit", "{model}", "--source", "{source}", "--prior", "x"), "--prior must be a number ≥ 0 or auto, not 'x'"),
        (
            ("fit", "{model}", "--source", "{source}", "--factor-keep", "2"),
            "'factor_keep' is 2.0: input should be less",
        ),
        (
            ("fit", "{model}", "--source", "{source}", "--fisher", "x"),
            "'fisher' is 'x', which is unknown: choose",
        ),
        (("fit", "{model}", "--source", "{source}", "--target-modules", "x"), "target_modules={'x'}"),
        (
            ("train", "{model}", "--target", "{target}", "--laplace", "x", "--strength", "-1"),
            "'strength' is -1.0: input should be",
        ),
        (
            ("train", "{model}", "--target", "{target}", "--laplace", "x", "--strength", "nan"),
            "'strength' is nan: input should be",
        ),
        (("train", "{model}", "--target", "{target}", "--laplace", "x"), "there is no folder x"),
        (("train", "{model}", "--target", "{target}", "--max-length", "3"), "raise max_length"),
        (("train", "{model}", "--target", "{target}", "--strength", "5"), "--strength weighs a Laplace: give one with"),
        (("train", "{model}", "--target", "{target}", "--target-modules", "x"), "target_modules={'x'}"),
        (("evaluate", "{model}", "nowhere", "--source", "{source}"), "there is no adapter folder nowhere"),
        (
            ("evaluate", "{model}", "nowhere", "--out", "{data}/x.json"),
            "x.json: cannot be written; choose another --out",
        ),
    ],
)
def test_mistakes_in_the_single_steps_are_one_line_and_leave_nothing(
    refused: Callable[..., str], mine: dict[str, Any], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    data = mine["data"] / "gsm8k.jsonl"
    values = {"model": mine["model"], "source": mine["source"], "data": data, "target": f"gsm8k={data}"}
    assert said in refused(
        *(argument.format_map(values) if "{'" not in argument else argument for argument in arguments)
    )
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_model_is_no_place_for_an_adapter(
    refused: Callable[..., str], mine: dict[str, Any], tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text('{"hidden_size": 16}')
    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    said = refused("train", mine["model"], "--target", target, "--out", theirs)
    assert "holds something else than a run; choose another --out" in said
    assert [path.name for path in theirs.rglob("*")] == ["config.json"]


def test_a_truncated_adapter_is_refused(refused: Callable[..., str], mine: dict[str, Any], tmp_path: Path) -> None:
    base = load_model(str(mine["model"]), torch.float32)
    get_peft_model(base, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    said = refused("evaluate", mine["model"], "adapter", "--source", mine["source"], "--rows", 2)
    assert "adapter is no adapter of" in said


def test_an_adapter_that_rewrote_its_base_is_measured_against_the_base(
    run: Run, mine: dict[str, Any], tmp_path: Path
) -> None:
    base = load_model(str(mine["model"]), torch.float32)
    model = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights="pissa"))
    model.save_pretrained(tmp_path / "start")  # changes nothing but by rounding, and switched off a lot
    evaluate = ("evaluate", mine["model"], "start", "--source", mine["source"], "--rows", 2, "--dtype", "float32")
    status, _, _ = run(*evaluate, "--out", "numbers.json")
    assert status == 0
    assert abs(json.loads((tmp_path / "numbers.json").read_text())["adapter"]["kl"]["winogrande"]) < 1e-6


def test_assets_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LALORA_HOME", str(tmp_path / "home"))
    status, out, _ = run("assets", "list")
    assert status == 0
    assert "smollm2-135m" in out
    assert "missing" in out
    assert out.splitlines()[-1] == f"cache: {tmp_path / 'home'} (LALORA_HOME sets another)"


def test_the_folder_of_what_is_there_is_told_whole(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    monkeypatch.setenv("LALORA_HOME", str(home))
    (asset,) = [one for one in statuses() if one.asset.name == "smollm2-135m"]
    asset.folder.mkdir(parents=True)
    (asset.folder / MANIFEST).write_text("{}")
    assert f"smollm2-135m: {asset.folder}" in run("assets", "list")[1].splitlines()


def test_assets_that_are_not_there_cannot_be_verified(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LALORA_HOME", str(tmp_path / "home"))
    assert "run `lalora assets fetch smollm2-135m`" in refused("assets", "verify", "smollm2-135m")
    assert "no asset is called 'x'" in refused("assets", "fetch", "x")


def test_the_library_does_not_need_the_lab() -> None:
    block = """
import sys
for name in ("lm_eval", "datasets", "gguf", "matplotlib", "jinja2", "platformdirs"):
    sys.modules[name] = None
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    library = subprocess.run(
        [sys.executable, "-c", f"{block}\nimport lalora\nlalora.fit"], env=environment, check=False
    )
    assert library.returncode == 0
    started = "from lalora.cli.main import main\nsys.argv = ['lalora', 'methods']\nmain()"
    for without in (block, f"{block}\nsys.modules['typer'] = None"):
        command = subprocess.run(
            [sys.executable, "-c", f"{without}\n{started}"],
            env=environment, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert command.returncode == 2
        assert command.stderr.strip().splitlines()[-1].endswith('is not installed: pip install "lalora[lab]"')


def test_dtype_auto_is_one_of_two() -> None:
    from lalora.study.setup.precision import resolve_dtype

    assert resolve_dtype("auto") in (torch.bfloat16, torch.float32)
    assert resolve_dtype("float32") is torch.float32


def test_a_url_to_share_is_for_a_cluster(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "--share is where the nodes of a cluster hand on" in refused("run", "smoke", "--share", "s3://bucket/study")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["fp32", "float64", "FLOAT32", "half", ""])
@pytest.mark.parametrize("command", ["fit", "evaluate", "train"])
def test_a_type_that_is_not_served_is_refused(
    refused: Callable[..., str], mine: dict[str, Any], command: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    rest = {
        "fit": ("--source", mine["source"]),
        "evaluate": ("adapter", "--source", mine["source"]),
        "train": ("--target", f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"),
    }[command]
    assert "auto" in refused(command, mine["model"], *rest, "--dtype", name)


def test_what_a_laplace_brings_is_not_asked_for_otherwise(
    run: Run, refused: Callable[..., str], mine: dict[str, Any]
) -> None:
    own = ("--rank", 2, "--alpha", 4, "--target-modules", "q_proj", "--dtype", "float32")
    assert run("fit", mine["model"], "--source", mine["source"], "--rows", 2, *own)[0] == 0
    train = ("train", mine["model"], "--target", f"gsm8k={mine['data'] / 'gsm8k.jsonl'}", "--laplace", "laplace")
    assert "--rank does not go with this Laplace, which brings its own adapter, with r=2" in refused(
        *train, "--rank", 8
    )
    assert "--alpha does not go with this Laplace" in refused(*train, "--rank", 2, "--alpha", 3)
    assert "--target-modules does not go with this Laplace" in refused(*train, "--target-modules", "v_proj")


def test_fewer_rows_than_asked_for_are_told(run: Run, mine: dict[str, Any]) -> None:
    status, _, said = run("fit", mine["model"], "--source", mine["source"], "--rows", 1000, "--dtype", "float32")
    assert status == 0
    assert "rows to fit on, where 1000 were asked for" in said
    assert "--budget" not in said


def test_one_domain_given_twice_is_refused(refused: Callable[..., str], mine: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    said = refused("evaluate", mine["model"], "adapter", "--source", mine["source"], "--held-out", mine["source"])
    assert "'winogrande' is given twice" in said


DRY: dict[str, tuple[dict[str, Any], str]] = {
    "a column": ({"sources": {"winogrande": "{data}/gsm8k.jsonl"}}, "no column 'sentence'"),
    "a file that is not there": ({"target": {"gsm8k": "./nowhere.jsonl"}}, "there is no data file"),
    "a model that is not there": ({"model": "./nowhere"}, "there is no model folder ./nowhere"),
    "a model that is none": ({"model": "{data}"}, "cannot load the "),
}


@pytest.mark.parametrize(("change", "message"), DRY.values(), ids=DRY.keys())
def test_a_dry_run_refuses_what_the_run_would(
    refused: Callable[..., str], recipe_file: Callable[..., str], mine: dict[str, Any], change: Any, message: str
) -> None:
    filled = json.loads(json.dumps(change).replace("{data}", str(mine["data"])))
    recipe = recipe_file(**filled)
    assert message in refused("run", recipe, "--dry-run")
    assert message in refused("run", recipe)
