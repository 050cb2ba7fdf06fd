"""Peak memory and time of stage I by the number of source tokens, with a rank and without one."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from memory import peak_bytes
from output import publish, table
from setting import VOCABULARY, Batch, llama, random_batch
from timing import chosen_device, machine

import lalora

WIDTH, LAYERS, RANK = 1024, 2, 64
ROWS, LENGTH = 4, 256


def main() -> None:
    """Measure each number of tokens."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")
    device = chosen_device()
    model = llama(WIDTH, LAYERS).to(device)
    with torch.no_grad():  # so that no child is the first to touch the weights
        model(**random_batch(ROWS, LENGTH, VOCABULARY, 0, device))
    found: list[dict[str, Any]] = []
    for tokens in chosen.tokens:
        for rank in (RANK, None):
            began = time.perf_counter()
            peak = peak_bytes(partial(fit, model, tokens, rank, device), device)
            found.append({"tokens": tokens, "rank": rank, "peak": peak, "seconds": time.perf_counter() - began})
        show(found, machine(device))


def fit(model: torch.nn.Module, tokens: int, rank: int | None, device: torch.device) -> None:
    """Fit on batches that are made one by one, so that they are not what grows."""
    lalora.fit(model, {"random": drawn(tokens, device)}, target_modules="all-linear", factor_rank=rank, progress=False)


def drawn(tokens: int, device: torch.device) -> Iterator[Batch]:
    """Draw so many tokens."""
    for number in range(tokens // (ROWS * LENGTH)):
        yield random_batch(ROWS, LENGTH, VOCABULARY, number, device)


def show(found: list[dict[str, Any]], where: str) -> None:
    """Print and keep what is known by now."""
    intro = (
        f"`lalora.fit`, `weight-kfac`, all {7 * LAYERS} linear layers of {WIDTH}×{WIDTH} of a random Llama, batches of "
        f"{ROWS * LENGTH} tokens, on {where}. Memory is the peak beyond what was held before; seconds are those of one "
        "run, beside whatever else the machine did."
    )
    rows = [
        [f"{one['tokens']:,}", str(one["rank"] or "all"), f"{one['peak'] / 2**20:.0f}", f"{one['seconds']:.0f}"]
        for one in found
    ]
    body = table(["tokens", "eigenvectors a factor", "peak, MiB", "seconds"], rows)
    publish("tokens", f"{intro}\n\n{body}", {"machine": where, "found": found})


if __name__ == "__main__":
    main()
