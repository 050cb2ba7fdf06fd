"""A made-up study with the shape of a real one; the numbers below were never measured."""

import math
import random
from typing import Any

import pytest

from lalora.report import Findings
from lalora.report.page import render
from lalora.report.panels.order import PANELS
from lalora.results import parse

STEPS = (0, 10, 20, 30, 40, 50, 60)
SOURCES = ("winogrande", "arc_challenge", "hellaswag")


def found(results: dict[str, Any]) -> Findings:
    return Findings(parse(results))


def page(results: dict[str, Any]) -> str:
    """The page without its pictures, which take a second to draw."""
    return page_of(found(results))


def page_of(findings: Findings) -> str:
    return render(findings, [panel(findings) for panel in PANELS], {})


def evaluation(step: int, target: float, kl: float, rise: float, accuracy: bool) -> dict[str, Any]:
    row = {
        "step": step,
        "kind": "eval",
        "target_loss": 1.564 - target,
        "source_loss": 4.081 + rise,
        "heldout_loss": 3.41 + 0.3 * rise,
        "source_kl": kl,
        "heldout_kl": 0.4 * kl,
        "loss": {name: 4.081 + rise for name in SOURCES},
        "kl": dict.fromkeys(SOURCES, kl),
    }
    if accuracy:
        row |= {"accuracy": {"gsm8k": 0.03125}, "source_accuracy": 0.44 - 0.2 * kl, "target_accuracy": 0.03125}
    return row


def run(label: str, strength: float | None, gain: float, kl: float, rise: float, seed: int = 0) -> dict[str, Any]:
    noise = random.Random(f"{label} {seed}")
    method = "lora" if strength is None else "lalora"
    grown = [1 - math.exp(-step / 14) for step in STEPS]
    drift = [(step / 60) ** 0.7 for step in STEPS]
    curve = [
        evaluation(step, gain * g, kl * d * noise.uniform(0.95, 1.05), rise * d, step in (0, 60))
        for step, g, d in zip(STEPS, grown, drift, strict=True)
    ]
    train = [
        {
            "step": step,
            "kind": "train",
            "loss": 1.56 - gain * (1 - math.exp(-step / 14)) + noise.gauss(0, 0.09),
            "penalty": None if strength is None else strength * 0.8 * kl * (step / 60) ** 0.7,
            "forecast": None if strength is None else 0.8 * kl * (step / 60) ** 0.7,
            "learning_rate": 2e-3 * (1 - step / 60),
            "grad_norm": 1.3,
        }
        for step in range(1, 61)
    ]
    important = 1.45e-2 if strength is None else 4e-4 / (1 + strength)
    return {
        "name": f"{method}{'' if strength is None else f'-strength-{strength:g}'}-seed-{seed}",
        "method": method,
        "label": label,
        "strength": strength,
        "seed": seed,
        "folder": "somewhere",
        "settings": {"rank": 16, "alpha": 32, "learning_rate": 2e-3, "lora": {"targets": "all-linear", "bias": False}},
        "final": curve[-1],
        "curve": curve,
        "scaled": [
            {**evaluation(60, gain * a, kl * a * a, rise * a, False), "kind": "scale", "alpha": a} for a in (0.25, 0.5)
        ],
        "softened": [
            {
                **evaluation(60, gain / (1 + s / 50), kl / (1 + 9 * s), rise, False),
                "kind": "soften",
                "strength": s,
                "alpha": 1.0,
            }
            for s in (0.1, 1.0, 10.0)
        ],
        "after": [
            {
                **evaluation(60, gain * (1 - s / 10), kl * (1 - s) ** 2, rise, False),
                "kind": "after",
                "rival": rival,
                "knob": s if rival == "regmean" else 1 - s,
            }
            for rival in ("lines", "regmean")
            for s in (0.5, 0.25)
        ],
        "after_costs": [
            {"rival": "regmean", "part": part, "seconds": seconds, "memory": 2**20}
            for part, seconds in (("target weight-kfac", 8.0), ("prepare", 0.5), ("at 0.5", 0.25), ("at 0.25", 0.125))
        ],
        "train": train,
        "seconds": 331.4,
        "step_seconds": 5.52 if strength is None else 5.55,
        "precision_groups": [
            {"group": "flexible", "n": 2752512, "mean": 0.0, "min": 0.0, "max": 0.0, "change": 0.0197},
            {
                "group": "middle",
                "n": 1376256,
                "mean": 1.06e-5,
                "min": 7.61e-22,
                "max": 7.24e-5,
                "change": important * 3,
            },
            {"group": "important", "n": 458752, "mean": 1.52e-3, "min": 7.24e-5, "max": 0.402, "change": important},
        ],
    }


def seeded_run(method: str, label: str, settings: dict[str, Any], gain: float, kl: float, seed: int) -> dict[str, Any]:
    """A run that knows its accuracies at every evaluation; the seeds 0, 1, 2 lie around the middle one."""
    strength = settings.get("strength")
    off = 0.05 * (seed - 1)
    made = run(label, strength, gain + 0.4 * off, kl * (1 + off), 0.6 * kl * (1 + off), seed)
    for row in made["curve"]:
        learned = 1.564 - row["target_loss"]
        row["source_accuracy"] = 0.60 - 0.4 * row["source_kl"]
        row["target_accuracy"] = 0.05 + 0.25 * learned
        row["accuracy"] = {
            **{name: row["source_accuracy"] + 0.01 * k for k, name in enumerate(SOURCES)},
            "gsm8k": row["target_accuracy"],
        }
    told = {**made["settings"], **settings, "seed": seed}
    name = "-".join([label.replace(" ", "-"), f"seed-{seed}"])
    return {**made, "name": name, "method": method, "settings": told, "final": made["curve"][-1]}


@pytest.fixture
def seeded(results: dict[str, Any]) -> dict[str, Any]:
    """A study of three seeds with accuracies, published points, a full grid of two settings and known sources."""
    kinds: list[tuple[str, str, dict[str, Any], float, float]] = [("lora", "LoRA", {}, 0.724, 0.182)]
    for rows, kept in ((4, 1.0), (8, 0.8)):
        for strength, gain, kl in ((1.0, 0.702, 0.12), (10.0, 0.66, 0.06), (100.0, 0.57, 0.02)):
            settings = {"strength": strength, "curvature": "diagonal", "source_rows": rows, "source_batch_size": rows}
            kinds.append(("lalora", f"LaLoRA λ={strength:g} source_rows={rows}", settings, gain, kl * kept))
    for named, kl in ((["winogrande"], 0.14), (["arc_challenge"], 0.15), (None, 0.1)):
        known = {} if named is None else {"source_domains": named}
        kinds.append(("ewc-lora", f"EWC-LoRA {named[0] if named else 'all'}", {"strength": 5.0, **known}, 0.69, kl))
    results["runs"] = [seeded_run(*kind, seed) for kind in kinds for seed in (0, 1, 2)]
    accuracies = {**{name: 0.60 + 0.01 * k for k, name in enumerate(SOURCES)}, "gsm8k": 0.05}
    results["base"] |= {"source_accuracy": 0.60, "target_accuracy": 0.05, "accuracy": accuracies}
    results["recipe"]["base"] = {"sources": dict.fromkeys(SOURCES, "embedded")}
    results["published"] = [
        {
            "run": "LoRA",
            "source_accuracy": 0.515,
            "source_spread": 0.009,
            "target_accuracy": 0.24,
            "target_spread": 0.007,
        },
        {"run": "LaLoRA λ=10 source_rows=4", "source_accuracy": 0.565, "target_accuracy": 0.21},
        {"run": "Never run", "source_accuracy": 0.9, "target_accuracy": 0.9},
    ]
    return results


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        "format": 1,
        "lalora": "0.1.0",
        "created": "2026-01-31T12:00:00+00:00",
        "command": "lalora run quickstart",
        "versions": {
            "python": "3.11.7",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "peft": "0.21.2",
            "lm_eval": "0.4.13",
        },
        "machine": "2 cores, 8 GB",
        "recipe": {"model": "smollm2-135m", "train": {"steps": 60, "batch_size": 4}, "methods": ["lora", "lalora"]},
        "name": "quickstart",
        "notes": ["The embedded GSM8K is split by a hash; its score is not comparable with published GSM8K numbers."],
        "base": evaluation(0, 0.0, 0.0, 0.0, True),
        "methods": {
            "lora": {"label": "LoRA", "knob": "learning_rate"},
            "lalora": {"label": "LaLoRA", "knob": "strength"},
        },
        "rivals": {
            "lines": {"label": "LiNeS", "knob": "α", "adapter": 1.0},
            "regmean": {"label": "RegMean", "knob": "λ", "adapter": 0.0},
        },
        "runs": [
            run("LoRA", None, 0.724, 0.182, 0.121),
            run("LaLoRA λ=1", 1.0, 0.702, 0.071, 0.031),
            run("LaLoRA λ=10", 10.0, 0.633, 0.024, -0.012),
        ],
    }
