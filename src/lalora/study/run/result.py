"""What of a study's results needs torch or the study itself: what its runs share, and the result of each run."""

import datetime
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lalora.laplace import Laplace
from lalora.methods import precision_groups, weight_changes
from lalora.methods.catalogue import knob_of, label_of
from lalora.posthoc import rival_named
from lalora.results import FORMAT
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.recipe import Recipe
from lalora.study.run.costing import COSTS
from lalora.study.setup.base_model import scale_note
from lalora.study.setup.context import Context
from lalora.study.setup.facts import versions
from lalora.study.store.finished import ADAPTER, AFTER, METRICS, TIMING, threads
from lalora.study.store.records import Row, read_json, read_rows
from lalora.version import __version__


def heading(recipe: Recipe, context: Context, command: str) -> dict[str, Any]:
    """Returns all of `results.json` but the runs and what is selected from them."""
    return {
        "format": FORMAT,
        "lalora": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "versions": {"python": platform.python_version(), **versions()},
        "machine": machine(),
        "name": recipe.name,
        "recipe": recipe.document,
        "notes": [*recipe.document.get("notes", []), *_notes(context)],
        "base": context.base,
        # Reports read these here, and need no method.
        "methods": {
            name: {"label": label_of(name), "knob": knob_of(name)}
            for name in dict.fromkeys(plan.method for plan in recipe.runs)
        },
        "rivals": {name: rival_named(name).names() for name in context.study.after},
        "published": recipe.document.get("published", []),
        "published_validation": recipe.document.get("published_validation", []),
        "published_costs": recipe.document.get("published_costs", []),
    }


def machine() -> str:
    """Returns the accelerator, if any, the cores, and how many of them torch uses."""
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.system()} {platform.machine()}"
    return f"{torch.cuda.get_device_name()}, {cores}" if torch.cuda.is_available() else cores


def run_result(plan: RunPlan, recipe: Recipe, context: Context, folder: Path) -> dict[str, Any]:
    """Returns what a finished run found, from the files in its folder."""
    rows = read_rows(folder / METRICS)
    curve = [row for row in rows if row["kind"] == "eval"]
    seconds = [row["seconds"] for row in read_rows(folder / TIMING)]
    laplace = None if plan.own_start else context.laplace_at_start(plan, list(recipe.runs))
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
        "trained": next((row for row in rows if row["kind"] == "trained"), None),
        "budgeted": next((row for row in rows if row["kind"] == "budget"), None),
        "controlled": [row for row in rows if row["kind"] == "control"],
        "after": [row for row in rows if row["kind"] == "after"],
        "after_costs": read_rows(folder / AFTER),
        "train": [row for row in rows if row["kind"] == "train"],
        "threads": threads(folder),
        "seconds": sum(seconds),
        "step_seconds": statistics.median(seconds) if seconds else None,
        "costs": read_json(folder / COSTS) or [],
        **_moved(laplace, folder),
    }


def _moved(laplace: Laplace | None, folder: Path) -> Row:
    """Returns how far the weights moved, as far as a Laplace knows where they started and how much they matter."""
    if laplace is None:
        return {"precision_groups": [], "weight_changes": None}
    after = safetensors.torch.load_file(folder / ADAPTER)
    # A block that is zero at the start is not stored.
    before = {name: laplace.mean.get(name, torch.zeros(shape)) for name, shape in laplace.shapes.items()}
    return {
        "precision_groups": precision_groups(laplace, before, after),
        "weight_changes": weight_changes(before, after),
    }


def _notes(context: Context) -> list[str]:
    scale = scale_note(context.study)
    notes = [scale] if scale else []
    notes += [data.note for data in context.data.domains if data.note]
    if context.common["dtype"] != "float32":
        notes.append(f"Frozen weights in {context.common['dtype']}, adapters in float32.")
    return notes
