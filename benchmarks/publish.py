"""What leaving eigenvectors out of a base model's curvature saves in its file, and what it costs.

The cost is told by the drift that is predicted for adapters that were trained without a penalty, beside what the whole
curvature predicts and what is measured. Run it by itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from output import publish, table
from peft import PeftModel
from setting import MODEL, SOURCES, Batch, adapted, forward_backward, text
from timing import chosen_device, machine

import lalora
from lalora.adapter import snapshot, trainable_tensors
from lalora.assets import load_model
from lalora.study.setup.precision import resolve_dtype

RANKS = (8, 16, 32, 64, 128, 256)
FITTED = (16, 64, 128)
BATCH = 4


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=4, help="source rows of each of three datasets, in fours")
    arguments.add_argument("--scored", type=int, default=4, help="other rows of each to measure on, in fours")
    arguments.add_argument("--steps", type=int, default=6, help="steps of the trained adapters")
    arguments.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-4], help="a learning rate an adapter")
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")
    device = chosen_device()
    base = load_model(MODEL, resolve_dtype("auto")).to(device)
    weights = 2 * sum(parameter.numel() for parameter in base.parameters())
    fitted, scored = {}, {}
    for name in SOURCES:
        batches = text(name, chosen.rows + chosen.scored, BATCH, device)
        fitted[name], scored[name] = batches[: chosen.rows // BATCH], batches[chosen.rows // BATCH :]
    target = text("gsm8k", BATCH * chosen.steps, BATCH, device)
    whole = lalora.fit(base, fitted, curvature="weight-kfac", target_modules="all-linear", progress=False)
    done("fitted")
    versions = {str(rank): whole.truncated(rank) for rank in RANKS}
    for rank in FITTED:
        versions[f"{rank}, while fitting"] = lalora.fit(
            base, fitted, target_modules="all-linear", factor_rank=rank, progress=False
        )
    versions["all"] = whole
    about = {name: told(one, weights) for name, one in versions.items()}
    done("sized")
    adapters: list[dict[str, Any]] = []
    where = machine(device)
    for rate in chosen.rates:
        model = adapted(base, "all-linear", 16)
        start = snapshot(model)
        train(model, target, rate)
        trained = snapshot(model)
        done("trained")
        found: dict[str, Any] = {"rate": rate, "measured": lalora.drift(model, scored).kl, "predicted": {}}
        done("measured")
        for name, one in versions.items():
            put(model, start)
            one.check(model)
            put(model, trained)
            found["predicted"][name] = one.forecast(model)
        adapters.append(found)
        show(where, chosen, weights, about, adapters)
        base = model.unload()


def done(what: str) -> None:
    """Say how far it is, with the seconds of CPU so far."""
    print(f"{what}: {time.process_time():.0f} s", file=sys.stderr, flush=True)


def told(laplace: lalora.Laplace, weights: int) -> dict[str, float]:
    """Weigh its two files as `lalora fit --base` writes them, and tell of how much only the mean is kept."""
    with tempfile.TemporaryDirectory() as folder:
        laplace.save(folder, torch.bfloat16)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    left = laplace.size()
    return {"size": size, "share": size / weights, "mean": left.averaged, "worst": left.worst}


def train(model: PeftModel, batches: Sequence[Batch], rate: float) -> None:
    """Fine-tune without a penalty."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for batch in batches:
        optimizer.zero_grad()
        forward_backward(model, [batch])
        optimizer.step()


@torch.no_grad()
def put(model: PeftModel, tensors: dict[str, torch.Tensor]) -> None:
    """Set the adapter."""
    for name, parameter in trainable_tensors(model).items():
        parameter.copy_(tensors[name])


def show(where: str, chosen: Any, weights: int, about: dict[str, Any], adapters: list[dict[str, Any]]) -> None:
    """Print and keep what is known by now."""
    head = ["eigenvectors", "file, MB", "of the model", "trace kept as a mean", "worst"]
    head += [f"predicted drift, rate {one['rate']:g}" for one in adapters]
    rows = []
    for name, one in about.items():
        cells = [name, f"{one['size'] / 1e6:.1f}", f"{one['share']:.1%}", f"{one['mean']:.1%}", f"{one['worst']:.1%}"]
        for adapter in adapters:
            part = adapter["predicted"][name]
            cells.append(f"{part:.4f} ({part / adapter['predicted']['all']:.0%})")
        rows.append(cells)
    measured = ", ".join(f"{one['measured']:.4f} at rate {one['rate']:g}" for one in adapters)
    intro = (
        f"{MODEL}, `weight-kfac` of the base on all linear layers, {chosen.rows} rows of each of "
        f"{', '.join(SOURCES)}, on {where}. Shares are of the model in bfloat16 ({weights / 1e6:.0f} MB). Adapters of "
        f"rank 16 after {chosen.steps} steps of {BATCH} rows of gsm8k, without a penalty; their measured drift on "
        f"{chosen.scored} other rows of each source: {measured}, in nats per token."
    )
    publish("publish", f"{intro}\n\n{table(head, rows)}", {"machine": where, "versions": about, "adapters": adapters})


if __name__ == "__main__":
    main()
