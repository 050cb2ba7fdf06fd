"""What a study found, put together from the files of its runs."""

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lalora.laplace import Laplace
from lalora.methods import precision_groups
from lalora.study.base_model import scale_note
from lalora.study.bench import Bench
from lalora.study.choosing import choose
from lalora.study.costing import COSTS
from lalora.study.done import ADAPTER, METRICS, TIMING, threads
from lalora.study.identity import versions
from lalora.study.plan import RunPlan
from lalora.study.recipe import Recipe
from lalora.study.records import Row, read_json, read_rows
from lalora.version import __version__

FORMAT = 1


def collect(recipe: Recipe, finished: Sequence[RunPlan], bench: Bench, folder: Path, command: str) -> dict[str, Any]:
    """Put the results of a study together.

    Args:
        recipe: The study.
        finished: Those of its runs that are done.
        bench: What they share.
        folder: Holds a folder for each run.
        command: What the user typed.

    Returns:
        The content of `results.json`.
    """
    runs = [_run(plan, recipe, bench, folder / plan.name) for plan in finished]
    chosen = {"selection": choose(recipe.select, bench.base, runs)} if recipe.select else {}
    return {
        "format": FORMAT,
        "lalora": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "versions": {"python": platform.python_version(), **versions()},
        "machine": machine(),
        "name": recipe.name,
        "recipe": recipe.document,
        "notes": [*recipe.document.get("notes", []), *_notes(bench)],
        "base": bench.base,
        "runs": runs,
        "published": recipe.document.get("published", []),
        "published_costs": recipe.document.get("published_costs", []),
        **chosen,
    }


def machine() -> str:
    """Describe the machine.

    Returns:
        Its accelerator, if any, its cores and how many of them torch uses.
    """
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.system()} {platform.machine()}"
    return f"{torch.cuda.get_device_name()}, {cores}" if torch.cuda.is_available() else cores


def _run(plan: RunPlan, recipe: Recipe, bench: Bench, folder: Path) -> dict[str, Any]:
    rows = read_rows(folder / METRICS)
    curve = [row for row in rows if row["kind"] == "eval"]
    seconds = [row["seconds"] for row in read_rows(folder / TIMING)]
    laplace = None if plan.own_start else bench.laplace_at_start(plan, list(recipe.runs))
    return {
        "name": plan.name,
        "method": plan.method,
        "label": plan.label,
        "strength": plan.effective.get("strength"),
        "seed": plan.settings.seed,
        "folder": plan.name,
        "settings": plan.effective,
        "final": curve[-1],
        "curve": curve,
        "validation": next((row for row in rows if row["kind"] == "validation"), None),
        "scaled": [row for row in rows if row["kind"] == "scale"],
        "softened": [row for row in rows if row["kind"] == "soften"],
        "train": [row for row in rows if row["kind"] == "train"],
        "threads": threads(folder),
        "seconds": sum(seconds),
        "step_seconds": statistics.median(seconds) if seconds else None,
        "costs": read_json(folder / COSTS) or [],
        "precision_groups": _groups(laplace, folder) if laplace else [],
    }


def _groups(laplace: Laplace, folder: Path) -> list[Row]:
    after = safetensors.torch.load_file(folder / ADAPTER)
    # A block that is zero at the start is not stored.
    before = {name: laplace.mean.get(name, torch.zeros(shape)) for name, shape in laplace.shapes.items()}
    return precision_groups(laplace, before, after)


def _notes(bench: Bench) -> list[str]:
    scale = scale_note(bench.study)
    notes = [scale] if scale else []
    notes += [data.note for data in bench.material.domains if data.note]
    if bench.common["dtype"] != "float32":
        notes.append(f"Frozen weights in {bench.common['dtype']}, adapters in float32.")
    return notes
