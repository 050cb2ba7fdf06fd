"""What each method was measured to cost over plain LoRA."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Costs of a method, of one curvature where it has several, in units of plain LoRA on the same machine.

    Attributes:
        curvature: The curvature, if the method has one to choose.
        ready: Time before the first step, in steps of plain LoRA.
        step: Time of a step.
        memory: Peak of memory beyond the model's own.
        after: Time after the last step, in steps of plain LoRA.
    """

    curvature: str | None
    ready: float
    step: float
    memory: float
    after: float


@cache
def costs() -> dict[str, list[Cost]]:
    """Read what `benchmarks/methods.py` measured, by method; nothing of plain LoRA."""
    found: dict[str, list[Cost]] = {}
    for row in json.loads(files("lalora.methods").joinpath("costs.json").read_text(encoding="utf-8"))["methods"]:
        numbers = {name: float(row[name]) for name in ("ready", "step", "memory", "after")}
        found.setdefault(row["method"], []).append(Cost(row.get("curvature"), **numbers))
    return found


def cost_of(chosen: Mapping[str, Mapping[str, Any]]) -> Cost:
    """Add up what the methods of a run cost, given the options of each by its name.

    A step of `kl` with `every: 4` costs a fourth of what it does with 1; a curvature that was not measured costs what
    the dearest one does.
    """
    ready = after = 0.0
    step = memory = 1.0
    for name, options in chosen.items():
        measured = costs().get(name, [])
        of_this = [cost for cost in measured if cost.curvature == options.get("curvature")] or measured
        for cost in sorted(of_this, key=lambda cost: cost.step)[-1:]:
            ready, after, memory = ready + cost.ready, after + cost.after, memory + cost.memory - 1
            step += (cost.step - 1) / options.get("every", 1)
    return Cost(None, ready, max(step, 0.0), memory, after)
