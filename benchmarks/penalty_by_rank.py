"""The penalty's share of a training step at given ranks of the factors, and the operations that it takes.

Factors are random, which changes no time, so that nothing is fitted: `python benchmarks/penalty_by_rank.py`. Each call
is timed with its factors out of the cache, as a training step leaves them. Beside the time on the clock stands that on
the processor, which work of others on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from output import publish, table
from peft import PeftModel
from penalty import filled, step
from setting import MODEL, adapted
from timing import chosen_device, machine, settle
from torch.utils._python_dispatch import TorchDispatchMode

from lalora.assets import load_model
from lalora.curvature import FITTED, Anchor, Factor, Factors, Kronecker
from lalora.laplace import anchors_of
from lalora.laplace._adapter_copy import mean_and_shapes
from lalora.laplace._bound import Bound
from lalora.laplace._penalty import add_gradient

KINDS = ("weight-kfac", "kfac")
SHARED = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
COLD = 80_000_000


def main() -> None:
    """Measure steps, then penalties in turns."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ranks", type=int, nargs="+", default=[433, 128], help="eigenvectors of every factor")
    arguments.add_argument("--steps", type=int, default=3, help="training steps that are timed")
    arguments.add_argument("--repeats", type=int, default=9, help="calls of each penalty that are timed")
    chosen = arguments.parse_args()
    device = chosen_device()
    where = machine(device)
    model = adapted(load_model(MODEL, torch.bfloat16).to(device), "all-linear", 16)
    anchors = anchors_of(model, "weight-kfac")
    ways = {}
    for rank in chosen.ranks:
        factors = random_factors(anchors, rank)
        ways |= {f"{kind}, k = {rank}": bound(model, kind, factors, anchors) for kind in KINDS}
    batch = filled(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    steps = [timed(partial(step, model, optimizer, batch), device) for _ in range(chosen.steps + 1)][1:]
    others = torch.zeros(COLD, device=device)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(chosen.repeats + 1):  # the first is a warm-up
        for name, way in ways.items():
            others.add_(1)
            found = timed(partial(penalised, way), device)
            if turn:
                times[name].append(found)
    rows, data = [], []
    for name, way in ways.items():
        middles = [ratio(times[name], steps, which, statistics.median) for which in (0, 1)]
        least = [ratio(times[name], steps, which, min) for which in (0, 1)]
        count = operations(way)
        rows.append([name, *(f"{share:.2%}" for share in (*least, *middles)), str(count)])
        data.append({"way": name, "least": least, "median": middles, "operations": count, "seconds": times[name]})
    told = (
        f"`Laplace.add_gradient` on {where}: {MODEL} in bfloat16, all-linear, rank 16, over a step of 4 × 160 tokens "
        "with AdamW. Random factors.\n\n"
    )
    head = ["", "least, clock", "least, processor", "median, clock", "median, processor", "operations"]
    publish("penalty_by_rank", told + table(head, rows), {"machine": where, "steps": steps, "penalties": data})


def random_factors(anchors: Mapping[str, Anchor], rank: int) -> Factors:
    """Make factors of a rank, or of the layer's size where that is less; layers share X as in a fit."""

    def random(size: int) -> Factor:
        count = min(size, rank)
        return Factor(torch.randn(size, count) / size**0.5, torch.rand(count) + 0.1)

    keys = {layer: ".".join(SHARED.get(part, part) for part in layer.split(".")) for layer in anchors}
    inputs = {keys[layer]: random(anchor.shape[2]) for layer, anchor in anchors.items() if keys[layer] == layer}
    return Factors.of(inputs, {layer: random(anchor.shape[0]) for layer, anchor in anchors.items()}, keys)


def bound(model: PeftModel, kind: str, factors: Factors, anchors: Mapping[str, Anchor]) -> Bound:
    """Bind a curvature to the model as a Laplace does."""
    curvature = FITTED[kind]
    assert issubclass(curvature, Kronecker)
    return Bound.of(model, mean_and_shapes(model)[0], curvature.of(factors, anchors), 0.0)


@torch.no_grad()
def penalised(way: Bound) -> None:
    """Do what `Laplace.add_gradient` does."""
    add_gradient(way.penalised, way.parameters, way.delta(), 1.0, 1.0)


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Time one call on the clock and on the processor."""
    settle(device)
    clock, processor = time.perf_counter(), time.process_time()
    work()
    settle(device)
    return time.perf_counter() - clock, time.process_time() - processor


def ratio(
    some: list[tuple[float, float]], steps: list[tuple[float, float]], which: int, of: Callable[[list[float]], float]
) -> float:
    """Divide what several calls took by what several steps took."""
    return of([found[which] for found in some]) / of([found[which] for found in steps])


class Counted(TorchDispatchMode):
    """Counts what torch is asked to do, but for views."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a call."""
        aliases = [one.alias_info for one in func._schema.returns]
        self.count += not any(alias is not None and not alias.is_write for alias in aliases)
        return func(*args, **(kwargs or {}))


def operations(way: Bound) -> int:
    """Count the operations of one call."""
    with Counted() as mode:
        penalised(way)
    return mode.count


if __name__ == "__main__":
    main()
