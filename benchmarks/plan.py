"""What `lalora fit --plan` says of memory beside measured peaks of small models, and what it says of large ones."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from memory import peak_bytes
from output import publish, table
from setting import VOCABULARY, adapted, llama, random_batch
from timing import chosen_device, machine
from transformers import MixtralConfig

import lalora
from lalora.assets import load_config, load_model
from lalora.planning import plan

LARGE = ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-405B")
# Rows of so many tokens, rows a batch, batches.
ROWS = ((128, 4, 2), (256, 2, 6))


def main() -> None:
    """Measure small models, then plan large ones."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="the random model alone")
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")
    device = chosen_device()
    models: dict[str, Callable[[], Any]] = {
        "a random Llama, 2 layers, width 1,024": partial(llama, 1024, 2),
        "smollm2-135m in float32": partial(load_model, "smollm2-135m", torch.float32),
    }
    found: list[dict[str, Any]] = []
    for name, make in list(models.items())[: 1 if chosen.quick else None]:
        for bare in (True, False):
            model = make().to(device)
            model = model if bare else adapted(model, "all-linear", 16)
            for length, rows, batches in ROWS[: 1 if name.startswith("smollm2") else None]:
                found += measured(name, model, bare, length, rows, batches, device)
                show(found, [], machine(device))
    show(found, [] if chosen.quick else large(), machine(device))


def measured(
    name: str, model: Any, bare: bool, length: int, rows: int, count: int, device: torch.device
) -> list[dict[str, Any]]:
    """Hold the plan against measured peaks beyond the weights."""
    config = model.config if bare else model.get_base_model().config
    batches = [random_batch(rows, length, config.vocab_size, seed, device) for seed in range(count)]
    with torch.no_grad():  # so that no child is the first to touch the weights
        model(**batches[0])
    told = plan(
        config, torch.float32, adapter_rank=None if bare else 16, rows=rows * count, batch_size=rows, length=length,
        on_cpu=device.type == "cpu",
    )  # fmt: skip
    weights = told.model.weight_bytes + (0 if bare else 4 * 16 * sum(sum(one) for one in told.model.shapes.values()))
    rest = {"target_modules": "all-linear"} if bare else {}
    libraries = nothing(bare, device)
    ends = []
    for cost in told.costs:
        if cost.curvature in ("kfac", "tri-kfac"):  # collect what weight-kfac does
            continue
        fit = partial(
            lalora.fit, model, {"random": batches}, curvature=cost.curvature, progress=False, **rest,
            **({} if cost.rank is None else {"factor_rank": cost.rank}),
        )  # fmt: skip
        peak = peak_bytes(fit, device)
        ends.append(
            {"model": name, "base": bare, "tokens": length * rows * count, "batch": f"{rows}×{length}",
             "curvature": cost.curvature, "rank": cost.rank, "planned": cost.device - weights,
             "measured": peak - libraries}
        )  # fmt: skip
    return ends


def nothing(bare: bool, device: torch.device) -> int:
    """Measure what libraries take in a first fit, whatever the model."""
    model = llama(64, 1).to(device)
    rest = {"target_modules": "all-linear"} if bare else {}
    batches = [random_batch(1, 8, VOCABULARY, 0, device)]
    whole = model if bare else adapted(model, "all-linear", 1)
    return peak_bytes(partial(lalora.fit, whole, {"random": batches}, progress=False, **rest), device)


def large() -> list[dict[str, Any]]:
    """Plan for models whose weights nobody has to have."""
    configs = {name: load_config(name) for name in LARGE}
    configs["Mixtral-8x7B (a mixture of experts)"] = MixtralConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, num_local_experts=8,
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    for name, config in configs.items():
        told = plan(config, torch.bfloat16, adapter_rank=None, sources=3, rows=32, batch_size=1, length=512)
        for cost in told.costs:
            found.append(
                {"model": name, "layers": len(told.model.shapes), "curvature": cost.curvature, "rank": cost.rank,
                 "weights": told.model.weight_bytes, "device": cost.device, "host": cost.host, "file": cost.file,
                 "operations": cost.operations}
            )  # fmt: skip
    return found


def show(found: list[dict[str, Any]], planned: list[dict[str, Any]], where: str) -> None:
    """Print and keep what is known by now."""
    mib, gib = 2**20, 2**30
    rows = [
        [one["model"], "base" if one["base"] else "adapter of rank 16", f"{one['tokens']:,} ({one['batch']} a batch)",
         one["curvature"], str(one["rank"] or ""), f"{one['planned'] / mib:.0f}", f"{one['measured'] / mib:.0f}",
         f"{one['planned'] / one['measured']:.2f}"]
        for one in found
    ]  # fmt: skip
    head = ["model", "fit of", "tokens", "curvature", "eigenvectors", "planned, MiB", "measured, MiB", "ratio"]
    parts = [
        f"Peak memory of a fit beyond the weights, as planned from the configuration alone and as measured, less what "
        f"a fit of a tiny model takes for libraries, on {where}.",
        table(head, rows),
    ]
    if planned:
        rows = [
            [one["model"], str(one["layers"]), one["curvature"], str(one["rank"] or "all"),
             f"{one['weights'] / gib:,.0f}", f"{one['device'] / gib:,.0f}", f"{one['host'] / gib:,.1f}",
             f"{one['file'] / gib:,.1f}", f"{one['operations'] / 4e14 / 60:,.0f}"]
            for one in planned
        ]  # fmt: skip
        head = ["model", "layers", "curvature", "eigenvectors", "weights, GiB", "peak, GiB", "result, GiB"]
        head += ["file, GiB", "minutes at 400 TFLOP/s"]
        parts += [
            "Planned for 3 sources of 32 rows of 512 tokens, a row a batch, weights in bfloat16, a fit of the base on "
            "all linear layers (of a mixture of experts those that are modules):",
            table(head, rows),
        ]
    publish("plan", "\n\n".join(parts), {"machine": where, "measured": found, "planned": planned})


if __name__ == "__main__":
    main()
