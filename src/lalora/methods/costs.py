"""What each method was measured to cost over plain LoRA."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


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
    """Read what `benchmarks/methods.py` measured.

    Returns:
        The costs by method; none of plain LoRA.
    """
    found: dict[str, list[Cost]] = {}
    for row in json.loads(files("lalora.methods").joinpath("costs.json").read_text(encoding="utf-8"))["methods"]:
        numbers = {name: float(row[name]) for name in ("ready", "step", "memory", "after")}
        found.setdefault(row["method"], []).append(Cost(row.get("curvature"), **numbers))
    return found
