"""Time and peak memory of stage I for each curvature and for peers, over one plain forward and backward pass.

Run with `make benchmarks`; the peers come with `pip install -e '.[lab,bench]'`.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from memory import peak_bytes
from output import publish, table
from peers import peers
from setting import Setting, forward_backward, real, tiny
from timing import chosen_device, compare_all, machine

import lalora

CURVATURES = ("diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal")
TARGETS: dict[str, str | list[str]] = {"q, k": ["q_proj", "k_proj"], "all-linear": "all-linear"}


def main() -> None:
    """Measure each model and choice of layers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=8, help="rows of each of three datasets, a batch each")
    arguments.add_argument("--pairs", type=int, default=3, help="repetitions on the embedded model, at least 2")
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")
    device = chosen_device()
    parts = [
        f"Stage I over one plain forward and backward pass of the very same batches, on {machine(device)}. Time: "
        "median and quartiles of paired ratios. Memory: ratio of peaks beyond what was held before (on a CPU the "
        "resident set of a child with one thread). The first six are `lalora.fit`, five of them with its defaults; "
        "curvlinops decomposes nothing, and laplace-torch takes rows of one length and computes every logit."
    ]
    found: list[dict[str, Any]] = []
    for label, targets in TARGETS.items():
        for make, pairs in (
            (partial(tiny, device, targets), 4 * chosen.pairs),
            (partial(real, device, targets, chosen.rows, chosen.rows), chosen.pairs),
        ):
            setting = make()
            title = f"{setting.name}, {label}, {setting.positions} tokens in {len(setting.batches)} batches"
            rows = measured(setting, pairs, device)
            parts.append(f"\n## {title}\n\n{markdown(rows)}")
            found.append({"setting": title, "pairs": pairs, "rows": rows})
            publish("stage_one", "\n".join(parts), {"machine": machine(device), "tables": found})


def measured(setting: Setting, pairs: int, device: torch.device) -> list[dict[str, Any]]:
    """Measure every way on one model."""
    plain = partial(forward_backward, setting.model, setting.batches)
    ways: dict[str, Callable[[], object]] = {
        kind: partial(lalora.fit, setting.model, setting.sources, curvature=kind, progress=False) for kind in CURVATURES
    }
    ways["weight-kfac, rank 128"] = partial(
        lalora.fit, setting.model, setting.sources, curvature="weight-kfac", factor_rank=128, progress=False
    )
    ways |= peers(setting)
    with torch.no_grad():  # so that no child is the first to touch the weights
        setting.model(**setting.batches[0])
    plain_peak = peak_bytes(plain, device)
    peaks: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name, way in ways.items():
        try:
            peaks[name] = peak_bytes(way, device) / plain_peak
        except (ImportError, RuntimeError, ValueError, MemoryError) as error:
            refused[name] = reason(error)
    times = compare_all(plain, {name: way for name, way in ways.items() if name in peaks}, pairs, device)
    rows: list[dict[str, Any]] = []
    for name in ways:
        if name in refused:
            rows.append({"way": name, "refused": refused[name]})
        else:
            low, middle, high = times[name].quartiles
            seconds = statistics.median(times[name].plain)
            rows.append({"way": name, "time": middle, "low": low, "high": high, "memory": peaks[name]})
            rows[-1] |= {"plain_seconds": seconds, "plain_peak_bytes": plain_peak, "ratios": times[name].ratios}
    return rows


def reason(error: Exception) -> str:
    """Say in one line why a peer did not run."""
    if isinstance(error, ModuleNotFoundError):
        return f"not installed (no module '{error.name}')"
    if isinstance(error, MemoryError):
        return f"not run: {error}"
    return f"cannot run: {type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """Lay out the measurements as a table."""
    cells = [
        [row["way"], row["refused"], "", ""]
        if "refused" in row
        else [
            row["way"],
            f"{row['time']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['memory']:.2f}",
        ]
        for row in rows
    ]
    return table(["way", "time", "quartiles", "peak memory"], cells)


if __name__ == "__main__":
    main()
