"""One fit and one fine-tuning in two processes are those of one process with batches twice as large."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from hostile.sandbox import Sandbox
from hostile.started import Started
from lalora.curvature import Kfac
from lalora.laplace import Laplace
from lalora.study.single.fit import fit_laplace
from lalora.study.single.train import train_adapter
from lalora.study.store.records import read_rows
from tiny_study import outcome

# The first process works alone before it works with the other one.
ALIKE = """
import os
import sys

import torch
import torch.distributed as dist
from transformers import TrainingArguments

import lalora
from lalora.adapter import snapshot
from lalora.fisher import own_part
from lalora.methods import InTurn, LaLoRA
from lalora.study.run.trainer import StudyTrainer
from tiny import batches, collate, lora, rows

out = sys.argv[1]
# The third row says nothing, and is not counted.
source = rows(5)
source[2]["labels"][:] = -100


def model_of():
    return lora(dtype=torch.float64, b_scale=0.2)


def work(batch_size):
    found = {}
    for curvature in ("diagonal", "weight-kfac"):
        laplace = lalora.fit(model_of(), own_part(batches(source, 2)), curvature=curvature, progress=False)
        found[curvature] = dict(laplace.curvature.tensors())
    model = model_of()
    args = TrainingArguments(
        output_dir=out + ".run", max_steps=10, per_device_train_batch_size=batch_size, learning_rate=1e-2,
        gradient_accumulation_steps=2, logging_steps=1, save_strategy="no", use_cpu=True, disable_tqdm=True,
        train_sampling_strategy="sequential", remove_unused_columns=False, report_to="none", max_grad_norm=0.05,
    )
    laplace = lalora.fit(model, batches(source, 2), progress=False, labels="data")
    method = LaLoRA(50.0, laplace=laplace)
    method.prepare(model, {})
    trainer = StudyTrainer(
        methods=InTurn([method]), run="tiny", model=model, args=args, train_dataset=rows(80, seed=5),
        data_collator=collate, before_softening=lambda: None,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {**found, "adapter": snapshot(model), "losses": losses, "processes": args.world_size}


launched = {name: os.environ.pop(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")}
results = [work(4)] if launched["RANK"] == "0" else []
os.environ.update(launched)
dist.init_process_group("gloo")
results.append(work(2))
if dist.get_rank() == 0:
    torch.save(results, out)
dist.destroy_process_group()
"""


def ended(processes: list[Started] | list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for all; exit status, stdout and stderr of each."""
    try:
        said = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.wait(), *each) for process, each in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def alike(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("alike")
    (folder / "worker.py").write_text(ALIKE)
    for status, _, err in ended(sandbox.launch(2, folder / "worker.py", folder / "results.pt")):
        assert status == 0, err
    results: list[dict[str, Any]] = torch.load(folder / "results.pt", weights_only=True)
    return results


def test_a_part_of_the_rows_gets_the_labels_that_the_whole_would(alike: list[dict[str, Any]]) -> None:
    one, two = (each["diagonal"] for each in alike)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert (two[name] - value).norm() <= 1e-6 * value.norm(), name
    one, two = (Kfac.from_tensors(each["weight-kfac"]).factors for each in alike)
    assert one.layers == two.layers
    for layer in one.layers:
        for which in ("x", "g"):
            expected = getattr(one, which)(layer).dense()
            assert (getattr(two, which)(layer).dense() - expected).norm() <= 1e-6 * expected.norm(), layer


def test_two_processes_train_as_one_with_batches_twice_as_large(alike: list[dict[str, Any]]) -> None:
    one, two = alike
    assert (one["processes"], two["processes"]) == (1, 2)
    for name, value in one["adapter"].items():
        assert (two["adapter"][name] - value).norm() <= 1e-6 * value.norm(), name
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert len(one["losses"]) == 10


# Each command in its turn, as the command line does it; what must be told apart is written down by each process.
COMMANDS = """
import json
import os
import signal
import sys
import time
from pathlib import Path

from lalora.cli import launcher, main

launcher._HEAD_START_S = 0.5

model, data, out, resumes = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "resume"
source, target = f"winogrande={data}/winogrande.jsonl", f"gsm8k={data}/gsm8k.jsonl"
exact = ("--dtype", "float32")
fit = ("fit", model, "--source", source, "--rows", "3", "--rank", "2", "--curvature", "diagonal", *exact)
train = ("train", model, "--target", target, "--laplace", str(out / "laplace"), "--steps", "6", "--batch-size", "2")
train += ("--scored-rows", "3", "--learning-rate", "0.01", "--strength", "20", *exact)
statuses = []


def lalora_does(*arguments):
    sys.argv = ["lalora", *map(str, arguments)]
    try:
        main.main()
        statuses.append(0)
    except SystemExit as end:
        statuses.append(end.code or 0)


if resumes:
    lalora_does("run", "smoke", "--out", out / "study")
    lalora_does(*train, "--out", out / "killed")
    lalora_does(*train, "--out", Path(model) / "config.json" / "adapter")
    (out / f"resumed-{os.environ['RANK']}").write_text(json.dumps(statuses))
else:
    lalora_does(*fit, "--out", out / "fitted")
    lalora_does(*train, "--out", out / "trained")
    lalora_does(*train, "--out", out / "trained")
    from lalora.study.run import trainer

    append = trainer.append_row

    def deadly(path, row):
        append(path, row)
        if path.name == "metrics.jsonl" and row["step"] == 4:
            (out / f"killed-{os.environ['RANK']}").write_text(json.dumps(statuses))
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.append_row = deadly
    lalora_does(*train, "--out", out / "killed")
"""


@pytest.fixture(scope="module")
def commands(
    tiny_model: Path, tiny_data: Path, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Any]]:
    """The folder in which everything was done, and what the processes of the last start said."""
    out = tmp_path_factory.mktemp("commands")
    exact: dict[str, Any] = {"model": str(tiny_model), "dtype": "float32"}
    fit_laplace(
        **exact, sources={"winogrande": str(tiny_data / "winogrande.jsonl")}, self_source=None, bare=False,
        settings={"rank": 2, "source_rows": 3, "curvature": "diagonal"}, out=out / "laplace", say=print,
    )  # fmt: skip
    settings = {"steps": 6, "batch_size": 4, "learning_rate": 0.01, "strength": 20.0, "method": "lalora"}
    study = {**exact, "sources": {}, "target": {"gsm8k": str(tiny_data / "gsm8k.jsonl")}, "scored_rows": 3}
    train_adapter(study, settings, out / "laplace", out / "alone", print)
    (out / "worker.py").write_text(COMMANDS)
    for job in ("kill", "resume"):
        said = ended(sandbox.launch(2, out / "worker.py", tiny_model, tiny_data, out, job, anew=job == "resume"))
    return out, said


def rows_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(folder / "metrics.jsonl") if row["kind"] == kind]


def test_the_commands_fit_and_train_as_one_process_would(commands: tuple[Path, list[Any]]) -> None:
    out, _ = commands
    assert json.loads((out / "killed-0").read_text()) == [0, 0, 0]
    expected, found = Laplace.load(out / "laplace"), Laplace.load(out / "fitted")
    assert found.provenance.datasets[0].rows == 3
    assert found.provenance.datasets[0].tokens == expected.provenance.datasets[0].tokens
    for name, value in expected.curvature.tensors().items():
        assert torch.allclose(found.curvature.tensors()[name], value, rtol=1e-4), name
    assert [row["step"] for row in rows_of(out / "trained", "train")] == [1, 2, 3, 4, 5, 6]
    for mine, theirs in zip(rows_of(out / "trained", "train"), rows_of(out / "alone", "train"), strict=True):
        for name in ("loss", "grad_norm", "learning_rate", "penalty", "forecast"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3), (mine["step"], name)
    adapters = [safetensors.torch.load_file(out / name / "adapter_model.safetensors") for name in ("alone", "trained")]
    for name, value in adapters[0].items():
        assert (adapters[1][name] - value).norm() <= 1e-3 * value.norm(), name
    assert not (out / "trained" / ".lock").exists()


def test_killed_and_started_again_is_undisturbed(commands: tuple[Path, list[Any]]) -> None:
    killed, trained = (outcome(commands[0] / name) for name in ("killed", "trained"))
    assert [name.split("/")[1] for name in killed] == [name.split("/")[1] for name in trained]
    assert list(killed.values()) == list(trained.values())


def test_both_end_with_an_error_and_one_says_it(commands: tuple[Path, list[Any]]) -> None:
    out, (main, other) = commands
    assert [json.loads((out / f"resumed-{rank}").read_text()) for rank in (0, 1)] == [[2, 0, 2]] * 2
    errors = [line for line in main[2].splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert errors[0].startswith("error: `lalora run` is one process, not 2: start it without a launcher.")
    assert errors[1].endswith("config.json/adapter: cannot be written (Not a directory); choose another --out")
    assert main[1].count("target loss") == 1
    assert other[1:] == ("", "")
    assert not (out / "study").exists()
