"""What each method costs over plain LoRA: preparation, a step, memory, and the work after training.

Run with `make benchmarks`. What `lalora methods` shows is its JSON, kept as `src/lalora/methods/costs.json`.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from memory import peak_bytes
from output import publish, table
from peft import PeftModel
from setting import Batch, Setting, forward_backward, real, text
from timing import chosen_device, compare, machine, seconds

from lalora.methods import METHODS, Method, build

ROWS, BATCH_SIZE = 8, 4
SETTINGS: Mapping[str, list[dict[str, Any]]] = {
    "lalora": [{"curvature": "diagonal"}, {"curvature": "weight-kfac"}],
}


def main() -> None:
    """Measure every method."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pairs", type=int, default=6, help="steps timed, each paired with one of plain LoRA")
    pairs = arguments.parse_args().pairs
    warnings.simplefilter("ignore")
    device = chosen_device()
    batch = text("gsm8k", BATCH_SIZE, BATCH_SIZE, device)[0]
    head = (
        f"SmolLM2-135M in bfloat16, float32 adapters of rank 16 on all linear layers, steps of {BATCH_SIZE} GSM8K "
        f"rows, {ROWS} source rows of each of three sources, on {machine(device)}. Ready: what comes before the first "
        "step, in steps of plain LoRA. Step: median and quartiles of paired ratios over one of plain LoRA. Memory: "
        "peak of getting ready and two steps, over that of two steps of plain LoRA (on a CPU the resident set of a "
        "child with one thread). After: what comes after the last step, in steps of plain LoRA. `replay` trains on "
        "other rows; here it gets the same."
    )
    load = partial(real, device, "all-linear", ROWS, BATCH_SIZE)
    ways = [(name, knobs) for name in METHODS for knobs in SETTINGS.get(name, [{}])]
    # All before the first backward pass of this process, after which autograd refuses a child.
    peaks = [peak_of(Run(load(), build(name, **knobs), batch), batch, device) for name, knobs in ways]
    plain = Run(load(), build("lora"), batch)
    found: list[dict[str, Any]] = []
    for (name, knobs), peak in zip(ways, peaks, strict=True):
        if name == "lora":
            continue
        timed = measured(plain, Run(load(), build(name, **knobs), batch), pairs, device)
        found.append({"method": name, **knobs, **timed, "memory": peak / peaks[0]})
        publish("methods", f"{head}\n\n{markdown(found)}", {"machine": machine(device), "methods": found})


def peak_of(run: Run, batch: Batch, device: torch.device) -> int:
    """Measure the memory that getting ready and two steps take."""
    with torch.no_grad():  # so that no child is the first to touch the weights
        run.model(**batch)
    return peak_bytes(run.whole, device)


def measured(plain: Run, own: Run, pairs: int, device: torch.device) -> dict[str, Any]:
    """Time one method against plain LoRA."""
    ready = seconds(own.prepare, device)
    steps = compare(plain.step, own.step, pairs, device)
    after = seconds(lambda: own.method.after_training(own.model), device)
    one = statistics.median(steps.plain)
    low, middle, high = steps.quartiles
    return {
        "ready": ready / one,
        "step": middle,
        "low": low,
        "high": high,
        "after": after / one,
        "plain_seconds": one,
        "ratios": steps.ratios,
    }


class Run:
    """A fine-tuning, step by step, as a study does it."""

    def __init__(self, setting: Setting, method: Method, batch: Batch) -> None:
        self.model: PeftModel = setting.model
        self.method = method
        self._sources = setting.sources
        self._batch = batch
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-5)

    def prepare(self) -> None:
        """Get the method ready."""
        self.method.prepare(self.model, self._sources if self.method.needs_source else {})

    def step(self) -> None:
        """Do a step in the middle of a run."""
        self._optimizer.zero_grad()
        self.method.before_forward(self.model, 50, 100)
        forward_backward(self.model, [self._batch])
        self.method.after_backward(self.model, 50, 1.0)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self.method.after_step(self.model)

    def whole(self) -> None:
        """Get ready and do two steps."""
        self.prepare()
        self.step()
        self.step()


def markdown(found: list[dict[str, Any]]) -> str:
    """Lay out the measurements as a table."""
    cells = [
        [
            " ".join([f"`{row['method']}`", *([row["curvature"]] if "curvature" in row else [])]),
            f"{row['ready']:.1f}",
            f"{row['step']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['memory']:.2f}",
            f"{row['after']:.1f}",
        ]
        for row in found
    ]
    return table(["method", "ready", "step", "quartiles", "memory", "after"], cells)


if __name__ == "__main__":
    main()
