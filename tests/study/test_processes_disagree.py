"""Processes that were told different things end together, each with one line that names what differs."""

from __future__ import annotations

import pytest

from hostile.sandbox import Sandbox

WORKER = """
import datetime, sys
import torch.distributed as dist
from transformers import TrainingArguments
import lalora
from lalora.methods import METHODS, InTurn
from lalora.study.run.trainer import StudyTrainer
from tiny import batches, collate, lora, llama, rows

dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
rank = dist.get_rank()
one = rank == 1
model = lora()
source, target = rows(4), rows(8, seed=5)


def fit(**options):
    other = options.pop("other_model", None)
    chosen = lora(seed=5) if other and one else model
    lalora.fit(chosen, batches(source, 2), progress=False, **options)


def train(curvature="diagonal", strength=1.0, data=target, steps=4, prior=0.0, shift=0.0, **settings):
    laplace = lalora.fit(model, batches(source, 2), curvature=curvature, progress=False)
    laplace.prior = prior
    laplace.mean = {name: tensor + shift for name, tensor in laplace.mean.items()}
    args = TrainingArguments(
        output_dir=sys.argv[1], max_steps=steps, per_device_train_batch_size=2, report_to="none", save_strategy="no",
        use_cpu=True, disable_tqdm=True, remove_unused_columns=False, **settings,
    )
    lalora.LaplaceTrainer(
        model=model, args=args, train_dataset=data, data_collator=collate, laplace=laplace, strength=strength
    ).train()


def study(method):
    args = TrainingArguments(
        output_dir=sys.argv[1], max_steps=4, per_device_train_batch_size=2, report_to="none", save_strategy="no",
        use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
    )
    method.prepare(model, {})
    StudyTrainer(
        methods=InTurn([method]), run="", model=model, args=args, train_dataset=target, data_collator=collate,
        before_softening=lambda: None,
    ).train()


cases = {
    "strength of a method": lambda: study(METHODS["l2"](50.0 * one)),
    "method": lambda: study(METHODS["l2"](1.0) if one else METHODS["lora"]()),
    "curvature": lambda: fit(curvature="kfac" if one else "diagonal"),
    "seed": lambda: fit(seed=int(one)),
    "labels": lambda: fit(labels="data" if one else "sampled"),
    "prior of a fit": lambda: fit(prior=float(one)),
    "base model": lambda: fit(other_model=True),
    "learning_rate": lambda: train(learning_rate=0.1 if one else 0.01),
    "max_steps": lambda: train(steps=6 if one else 4),
    "gradient_accumulation_steps": lambda: train(gradient_accumulation_steps=2 if one else 1),
    "weight_decay": lambda: train(weight_decay=0.1 * one),
    "data_seed": lambda: train(data_seed=rank),
    "strength": lambda: train(strength=1.0 + one),
    "number of training rows": lambda: train(data=target[: 8 - 2 * one]),
    "training rows": lambda: train(data=[target[1], target[0], *target[2:]] if one else target),
    "lr_scheduler_kwargs": lambda: train(
        lr_scheduler_type="cosine_with_restarts", lr_scheduler_kwargs={"num_cycles": 1 + one}
    ),
    "prior": lambda: train(prior=float(one)),
    "Laplace": lambda: train(shift=0.1 * one),
}
for name, work in cases.items():
    try:
        work()
        print("NOTHING", name, flush=True)
    except lalora.LaloraError as error:
        print("SAID", name, "|", error, flush=True)
dist.destroy_process_group()
"""
DIFFER = {
    "curvature": "'curvature': 'diagonal' in process 0, 'kfac' in process 1",
    "seed": "'seed': 0 in process 0, 1 in process 1",
    "labels": "'labels': 'sampled' in process 0, 'data' in process 1",
    "prior of a fit": "'prior': 0.0 in process 0, 1.0 in process 1",
    "base model": "'base model': something with the hash",
    "learning_rate": "'learning_rate': 0.01 in process 0, 0.1 in process 1",
    "max_steps": "'max_steps': 4 in process 0, 6 in process 1",
    "gradient_accumulation_steps": "'gradient_accumulation_steps': 1 in process 0, 2 in process 1",
    "weight_decay": "'weight_decay': 0.0 in process 0, 0.1 in process 1",
    "data_seed": "'data_seed': 0 in process 0, 1 in process 1",
    "strength": "'strength': 1.0 in process 0, 2.0 in process 1",
    "number of training rows": "'number of training rows': 8 in process 0, 6 in process 1",
    "training rows": "'training rows': something with the hash",
    "lr_scheduler_kwargs": "'lr_scheduler_kwargs': {'num_cycles': 1} in process 0, {'num_cycles': 2} in process 1",
    "prior": "'prior': 0.0 in process 0, 1.0 in process 1",
    "Laplace": "'Laplace': something with the hash",
    "strength of a method": "'strength': 0.0 in process 0, 50.0 in process 1",
    "method": "'method': 'lora' in process 0, 'l2' in process 1",
}


@pytest.fixture(scope="module")
def said(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("disagree")
    (folder / "work.py").write_text(WORKER)
    processes = sandbox.launch(2, folder / "work.py", folder / "out")
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    return [
        dict(line.removeprefix("SAID ").split(" | ", 1) for line in output.splitlines() if line.startswith("SAID "))
        for output in outputs
    ]


@pytest.mark.parametrize("name", DIFFER)
def test_both_end_and_name_it(said: list[dict[str, str]], name: str) -> None:
    for lines in said:
        assert f"the processes differ in {DIFFER[name]}" in lines[name]


ENVIRONMENTS: dict[str, tuple[dict[str, str], str]] = {
    "no number": ({"WORLD_SIZE": "x"}, "WORLD_SIZE='x', which is no number"),
    "a fraction": ({"WORLD_SIZE": "1.5"}, "WORLD_SIZE='1.5'"),
    "huge": ({"WORLD_SIZE": "9" * 5000}, "which is no number"),
    "nobody": ({"WORLD_SIZE": "0"}, "RANK=0 of WORLD_SIZE=0"),
    "a rank beyond": (
        {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
        "RANK=2 of WORLD_SIZE=2",
    ),
    "a negative rank": ({"RANK": "-1"}, "RANK='-1', which is no number"),
    "a port in words": ({"MASTER_PORT": "abc"}, "MASTER_PORT='abc'"),
    "a port beyond": ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "99999"}, "is no port"),
    "no address": ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE=2 and no MASTER_ADDR"),
}


@pytest.mark.parametrize(("environment", "message"), ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_an_environment_that_no_launcher_made(environment: dict[str, str], message: str, sandbox: Sandbox) -> None:
    outcome = sandbox.lalora("fit", "model", environment=environment)
    assert outcome.code == 2
    assert not outcome.broken
    assert message in outcome.err or environment.get("RANK") == "2"


@pytest.mark.parametrize("minutes", ["x", "0", "-1", "nan", "1e9"])
def test_a_time_out_is_a_number_of_minutes(minutes: str, sandbox: Sandbox) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29656"}
    outcome = sandbox.lalora("fit", "model", environment={**environment, "LALORA_TIMEOUT_MINUTES": minutes})
    assert outcome.refused_in_one_line
    assert "LALORA_TIMEOUT_MINUTES must be a number of minutes above 0" in outcome.err


def test_a_process_that_never_comes_is_not_awaited_for_long(sandbox: Sandbox) -> None:
    environment = {
        "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29657",
        "LALORA_TIMEOUT_MINUTES": "0.05", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    outcome = sandbox.lalora("fit", "model", environment=environment, timeout=60)
    assert outcome.refused_in_one_line
    assert "the 2 processes did not find each other within 0.05 minutes" in outcome.err
