"""What a core installation does without extras, from a fit to a budget, and what it says where an extra is needed.

Prints JSON: the numbers, and under `lines` each line that tells what is missing. Runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import core_only

core_only.hide_extras()

import torch  # ruff: ignore[module-import-not-at-top-of-file]
from transformers import DataCollatorForSeq2Seq, TrainingArguments  # ruff: ignore[module-import-not-at-top-of-file]

import lalora  # ruff: ignore[module-import-not-at-top-of-file]
import lalora.cli.main  # ruff: ignore[module-import-not-at-top-of-file]
from tiny import batches, llama, lora, rows, shake, tokenizer  # ruff: ignore[module-import-not-at-top-of-file]

CURVATURES = ("diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal")
CORE = (
    "curvature",
    "fisher",
    "laplace",
    "methods",
    "posthoc",
    "results",
    "checking",
    "scoring",
    "softening",
    "text",
    "training",
)
LAB = ("assets", "domains", "evaluation", "report", "study")
COMMANDS = (
    "run --list",
    "fit x",
    "train x",
    "evaluate x y",
    "check x",
    "soften x y",
    "report .",
    "methods",
    "assets list",
)


def work() -> dict[str, Any]:
    """Do everything that the core promises, on a tiny model; return numbers."""
    tokens, found = tokenizer(), {}
    text = ["a b c d", "e f g h i", "k l m n o p"]
    source = lalora.source_batches(text, tokens, batch_size=2)
    unseen = lalora.source_batches(["q r s t", "u v w x y"], tokens)
    for kind in CURVATURES:
        model = lora()
        laplace = lalora.fit(model, {"text": source}, curvature=kind, progress=False)
        laplace.save(f"laplace-{kind}")
        loaded = lalora.Laplace.load(f"laplace-{kind}")
        shake(model)
        found[kind] = float(loaded.penalty(model, strength=2.0).detach())
    lalora.fit(llama(), text, curvature="weight-kfac", target_modules="all-linear", tokenizer=tokens, progress=False)
    for name, line in {
        "lines.jsonl": '{"text": "a b c"}\n',
        "table.csv": "text\na b c\n",
        "prose.txt": "a b\n",
    }.items():
        Path(name).write_text(line, encoding="utf-8")
        assert len(lalora.source_batches(name, tokens)) == 1
    found["check"] = lalora.check(lora(), tokens).works
    found["drift"] = lalora.drift(model, unseen).kl
    lalora.soften(model, batches(rows(4), 2), source=source, progress=False).save("softened", strength=1.0)
    found["softened"] = sorted(os.listdir("softened"))
    given: dict[str, Any] = {
        "args": TrainingArguments(
            "out", max_steps=2, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no"
        ),
        "train_dataset": [{key: value.tolist() for key, value in row.items()} for row in rows(6)],
        "data_collator": DataCollatorForSeq2Seq(tokens),
    }
    penalised = lora()
    laplace = lalora.fit(penalised, {"text": source}, progress=False)
    lalora.LaplaceTrainer(model=penalised, laplace=laplace, strength=1.0, **given).train()
    lalora.MethodTrainer(
        model=lora(), sources={"text": source}, budget=0.02, budget_batches={"text": unseen}, **given
    ).train()
    return found


def told(call: Callable[[], object]) -> str:
    """Return the line of the error that a call ends with."""
    try:
        call()
    except lalora.LaloraError as error:
        return str(error)
    return "nothing was missing"


def lines() -> dict[str, str]:
    """Ask for what needs an extra, by every way in."""
    tokens, found = tokenizer(), {}
    for name in ("table.parquet", "lines.jsonl.zst"):
        Path(name).write_bytes(b"anything")
        found[name] = told(lambda name=name: lalora.source_batches(name, tokens))  # type: ignore[misc]
    for room in LAB:
        found[room] = told(lambda room=room: importlib.import_module(f"lalora.{room}"))  # type: ignore[misc]
    intervals = importlib.import_module("lalora.results.intervals")
    found["scipy"] = told(lambda: intervals.paired({0: 1.0, 1: 2.0}, {0: 2.0, 1: 2.5}))
    corda = importlib.import_module("lalora.methods").METHODS["corda"]()
    found["corda"] = told(lambda: corda.choose(lora(), [], {"text": batches(rows(2), 2)}))
    for command in COMMANDS:
        sys.argv = ["lalora", *command.split()]
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
            lalora.cli.main.main()
        found[f"lalora {command}"] = said.getvalue().strip()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for room in CORE:
        importlib.import_module(f"lalora.{room}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            everything = work() | {"lines": lines()}
        os.chdir("/")  # Windows removes no folder that is in use
    print(json.dumps(everything))
