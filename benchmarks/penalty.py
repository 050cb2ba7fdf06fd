"""What the penalty costs in each step: how it grows with rank and width, and its share of a real training step.

Run with `make benchmarks`. What is timed is `Laplace.add_gradient`, which the trainer calls once per optimizer step.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from output import publish, table
from peft import PeftModel
from setting import VOCABULARY, Batch, adapted, forward_backward, llama, random_batch, real, text
from timing import Paired, chosen_device, machine, seconds, slope

import lalora
from lalora.adapter import trainable_tensors

CURVATURES = ("diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal")
KRONECKER = ("kfac", "tri-kfac", "weight-kfac")
WIDTH, RANK = 1024, 16
SOURCE_POSITIONS = 64
REPEATS = 15

# Curvatures and (width, rank) of each series; the last two go to where the fixed cost of a call no longer counts.
SERIES: dict[str, tuple[tuple[str, ...], list[tuple[int, int]]]] = {
    f"Growing rank at width {WIDTH}": (CURVATURES, [(WIDTH, rank) for rank in (4, 8, 16, 32, 64)]),
    f"Growing width at rank {RANK}": (CURVATURES, [(width, RANK) for width in (256, 512, 1024, 2048)]),
    f"Growing width at rank {RANK}, compact Kronecker": (KRONECKER, [(width, RANK) for width in (1024, 2048, 4096)]),
    f"Growing rank at width {WIDTH}, diagonal": (("diagonal",), [(WIDTH, rank) for rank in (64, 128, 256, 512)]),
}

# Settings of stage I on the real model.
KINDS: dict[str, dict[str, Any]] = {
    "diagonal": {"curvature": "diagonal"},
    "kfac": {"curvature": "kfac"},
    "tri-kfac": {"curvature": "tri-kfac"},
    "weight-kfac": {"curvature": "weight-kfac"},
    "weight-kfac, factor_keep=0.99": {"curvature": "weight-kfac", "factor_keep": 0.99},
    "weight-kfac, factor_rank=32": {"curvature": "weight-kfac", "factor_rank": 32},
    "weight-diagonal": {"curvature": "weight-diagonal"},
}


def main() -> None:
    """Measure growth, then shares."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=4, help="source rows of each of three datasets")
    arguments.add_argument("--pairs", type=int, default=6, help="steps timed on the embedded model, at least 2")
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")
    device = chosen_device()
    where = machine(device)
    growth, grown = by_size(device)
    text = f"`Laplace.add_gradient`, on {where}.\n\n{growth}"
    publish("penalty", text, {"machine": where, "growth": grown})
    shares, shared = by_share(device, chosen.rows, chosen.pairs)
    publish("penalty", f"{text}\n{shares}", {"machine": where, "growth": grown, "share of a step": shared})


def by_size(device: torch.device) -> tuple[str, dict[str, Any]]:
    """Time the penalty on random layers of growing rank and of growing width."""
    parts: list[str] = []
    data: dict[str, Any] = {}
    for title, (kinds, sizes) in SERIES.items():
        parameters = [14 * width * rank for width, rank in sizes]
        times = [fastest(width, rank, kinds, device) for width, rank in sizes]
        rows = []
        for kind in kinds:
            series = [found[kind] for found in times]
            exponent, last = slope(parameters, series), slope(parameters[-2:], series[-2:])
            rows.append([kind, *(f"{found / series[0]:.2f}" for found in series), f"{exponent:.2f}", f"{last:.2f}"])
            data[f"{title}: {kind}"] = {"(width, rank)": sizes, "seconds": series, "slope": exponent, "last": last}
        head = ["", *(f"d={width} r={rank}" for width, rank in sizes), "slope", "last slope"]
        parts.append(f"## {title}\n\n{table(head, rows)}\n")
    told = (
        f"Seven random d × d layers, B ≠ 0, factors of {SOURCE_POSITIONS} source positions; the fastest of {REPEATS} "
        "calls, over the first size's. Slopes are log–log against the number of adapter parameters, which is "
        "proportional to rank and to width: over all sizes, and between the last two.\n"
    )
    return "\n".join([told, *parts]), data


def fastest(width: int, rank: int, kinds: Sequence[str], device: torch.device) -> dict[str, float]:
    """Time curvatures at one size; contention only slows a call, so the fastest counts."""
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = adapted(llama(width, 1).to(device), targets, rank)
    moved(model, 0.01)
    source = [random_batch(1, SOURCE_POSITIONS, VOCABULARY, 0, device)]
    fitted = {kind: lalora.fit(model, source, curvature=kind, progress=False) for kind in kinds}
    moved(model, 0.01)
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(REPEATS + 1):
        for kind, laplace in fitted.items():
            found[kind].append(seconds(partial(laplace.add_gradient, model, 1.0), device))
    return {kind: min(times[1:]) for kind, times in found.items()}


@torch.no_grad()
def moved(model: PeftModel, scale: float) -> None:
    """Move every trainable tensor by noise."""
    for parameter in trainable_tensors(model).values():
        parameter.add_(torch.randn_like(parameter), alpha=scale)


def by_share(device: torch.device, rows: int, pairs: int) -> tuple[str, list[dict[str, Any]]]:
    """Time the penalty against steps on the embedded model, adapted on all linear layers with rank 16."""
    setting = real(device, "all-linear", rows, rows)
    model, batch = setting.model, filled(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    found: list[dict[str, Any]] = []
    fitted = {name: lalora.fit(model, setting.sources, progress=False, **settings) for name, settings in KINDS.items()}
    paired = {name: Paired([], []) for name in fitted}
    for turn in range(pairs + 1):  # the first is a warm-up
        plain = seconds(partial(step, model, optimizer, batch), device)
        for name, laplace in fitted.items():
            extra = seconds(partial(laplace.add_gradient, model, 1.0), device)
            if turn:
                paired[name].plain.append(plain)
                paired[name].extra.append(extra)
    for name, laplace in fitted.items():
        times = paired[name]
        low, middle, high = times.quartiles
        ranks = [tensor.shape[1] for key, tensor in laplace.curvature.tensors().items() if key.endswith("/vectors")]
        found.append({"way": name, "share": middle, "low": low, "high": high, "ratios": times.ratios})
        found[-1] |= {
            "median k": statistics.median(ranks) if ranks else None,
            "step seconds": statistics.median(times.plain),
        }
    lines = [
        [
            row["way"],
            f"{row['share']:.2%}",
            f"{row['low']:.2%} to {row['high']:.2%}",
            "" if row["median k"] is None else f"{row['median k']:.0f}",
        ]
        for row in found
    ]
    told = (
        f"## Share of a training step\n\n{setting.name} in bfloat16, all-linear, rank 16, a step of 4 × 160 tokens "
        f"with AdamW; fitted on {setting.positions} source positions. Each call alone over the plain step right "
        "before it.\n\n"
    )
    return told + table(["", "share", "quartiles", "median k of the factors"], lines), found


def filled(device: torch.device) -> Batch:
    """Concatenate target text into 4 rows of 160 tokens without padding."""
    batches = text("gsm8k", 32, 32, device)
    ids = torch.cat([batch["input_ids"][batch["attention_mask"].bool()] for batch in batches])[:640].view(4, 160)
    return {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}


def step(model: PeftModel, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Do an optimizer step as `Trainer` does; the gradients are left for what is compared with it."""
    optimizer.zero_grad()
    forward_backward(model, [batch])
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()


if __name__ == "__main__":
    main()
