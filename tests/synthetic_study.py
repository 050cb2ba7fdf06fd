"""The results that a built-in recipe would leave, with made-up numbers that a test can compute again by hand."""

from __future__ import annotations

import random
from statistics import fmean
from typing import Any

import torch

from lalora.methods import weight_changes
from lalora.methods.catalogue import knob_of, label_of
from lalora.posthoc import rival_named
from lalora.study import load_recipe
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.recipe import Recipe

BASE = "base model"
GROUPS = {"flexible": 0.0, "middle": 1e-5, "important": 1e-3}
PARTS = ("forward", "method", "backward", "optimizer")


def number(*key: object) -> float:
    """A number from 0 to 1 that its key alone decides."""
    return random.Random(repr(key)).random()


def accuracy(label: str, seed: int, data: str, step: int, rows: str = "scored") -> float:
    """The accuracy of a run on a data set after a step, on scored or validation rows."""
    return 0.2 + 0.6 * number("accuracy", label, seed, data, step, rows)


def loss(label: str, seed: int, data: str, step: int, rows: str = "scored") -> float:
    """The loss of a run, in nats per token."""
    return 0.5 + number("loss", label, seed, data, step, rows)


def kl(label: str, seed: int, data: str, step: int, rows: str = "scored") -> float:
    """The drift of a run, in nats per token; that of the base model is 0."""
    return 0.0 if label == BASE or step == 0 else 0.4 * number("kl", label, seed, data, step, rows)


def source_accuracy(recipe: Recipe, label: str, seed: int, step: int, rows: str = "scored") -> float:
    """The mean accuracy over the sources of a recipe."""
    return fmean(accuracy(label, seed, name, step, rows) for name in recipe.study.sources)


def cost(label: str, part: str, what: str) -> float:
    """Seconds, or bytes, of a part of a run."""
    size = 1.0 if what == "seconds" else 2.0**33
    return size * (0.1 + number("cost", label, part, what))


def weights(label: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Adapter weights before training, which only the seed decides, and after it."""
    before = torch.tensor([number("start", seed, place) - 0.5 for place in range(300)])
    return before, before + torch.tensor([0.1 * number("change", label, seed, place) for place in range(300)])


def change(label: str, seed: int, group: str) -> float:
    """The mean |change| of a group of weights by precision."""
    return 0.01 * number("group", label, seed, group)


def synthetic(name: str, *overrides: str) -> dict[str, Any]:
    """The content of `results.json` for every run of a recipe."""
    recipe = load_recipe(name, overrides)
    methods = dict.fromkeys(plan.method for plan in recipe.runs)
    return {
        "format": 1,
        "name": recipe.name,
        "recipe": recipe.document,
        "notes": recipe.document.get("notes", []),
        "base": _row(recipe, BASE, 0, 0, bool(recipe.study.accuracy_rows)),
        "rivals": {name: rival_named(name).names() for name in recipe.study.after},
        "methods": {method: {"label": label_of(method), "knob": knob_of(method)} for method in methods},
        "published": recipe.document.get("published", []),
        "published_validation": recipe.document.get("published_validation", []),
        "published_costs": recipe.document.get("published_costs", []),
        "runs": [_run(recipe, plan) for plan in recipe.runs],
    }


def _run(recipe: Recipe, plan: RunPlan) -> dict[str, Any]:
    study, seed, last = recipe.study, plan.settings.seed, plan.settings.steps
    measured = {0: False, **dict.fromkeys(study.evaluate_at, False), **dict.fromkeys(study.accuracy_at, True)}
    measured |= {0: bool(study.accuracy_rows), last: bool(study.accuracy_rows)}
    curve = [_row(recipe, plan.label, seed, step, measured[step]) for step in sorted(measured) if step <= last]
    validation = _row(recipe, plan.label, seed, last, bool(study.accuracy_rows), "validation")
    start, end = ({"lora_B": tensor} for tensor in weights(plan.label, seed))
    known = recipe.name.endswith("update-pattern")
    parts = [*(f"fit {name}" for name in study.sources), "ready", *PARTS] if study.timed_steps else []
    return {
        "name": plan.name,
        "method": plan.method,
        "label": plan.label,
        "strength": plan.effective.get("strength"),
        "seed": seed,
        "settings": plan.effective,
        "final": curve[-1],
        "curve": curve,
        "validation": validation if study.validation_rows else None,
        "after": [
            {**_row(recipe, f"{plan.label} {rival} {knob}", seed, last, False), "rival": rival, "knob": knob}
            for rival, knobs in study.after.items()
            for knob in knobs
        ],
        "costs": [
            {"part": part, **{key: cost(plan.label, part, key) for key in ("seconds", "allocated", "peak", "reserved")}}
            for part in parts
        ],
        "precision_groups": [
            {
                "group": group,
                "n": 100,
                "mean": size,
                "min": size,
                "max": size,
                "change": change(plan.label, seed, group),
            }
            for group, size in GROUPS.items()
            if known
        ],
        "weight_changes": weight_changes(start, end) if known else None,
    }


def _row(recipe: Recipe, label: str, seed: int, step: int, accurate: bool, rows: str = "scored") -> dict[str, Any]:
    sources, (target,), held_out = list(recipe.study.sources), recipe.study.target, list(recipe.study.held_out)
    of = (label, seed)
    row: dict[str, Any] = {
        "step": step,
        "target_loss": loss(*of, target, step, rows),
        "source_loss": fmean(loss(*of, name, step, rows) for name in sources),
        "source_kl": fmean(kl(*of, name, step, rows) for name in sources),
        "loss": {name: loss(*of, name, step, rows) for name in [*sources, target, *held_out]},
        "kl": {name: kl(*of, name, step, rows) for name in [*sources, *held_out]},
    }
    if held_out:
        row["heldout_kl"] = fmean(kl(*of, name, step, rows) for name in held_out)
        row["heldout_loss"] = fmean(loss(*of, name, step, rows) for name in held_out)
    if accurate:
        row["accuracy"] = {name: accuracy(*of, name, step, rows) for name in [*sources, target]}
        row["source_accuracy"] = source_accuracy(recipe, label, seed, step, rows)
        row["target_accuracy"] = accuracy(*of, target, step, rows)
    return row
