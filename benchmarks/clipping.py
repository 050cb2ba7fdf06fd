"""Which gradient to clip: the sum of both, or the target's alone. Each way trains the real model.

Run with `python benchmarks/clipping.py`: 40 steps of GSM8K with each curvature, strength and way to clip.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from output import publish, table
from setting import MODEL, SOURCES, Batch, adapted, text
from timing import chosen_device, machine
from torch import nn
from transformers import Trainer, TrainingArguments

import lalora
from lalora import Laplace
from lalora.assets import load_model
from lalora.scoring import score_text
from lalora.training import LaplaceMixin

STRENGTHS = {"diagonal": (1e3, 1e5, 1e7), "weight-kfac": (30.0, 1e3, 1e5)}
SEEDS = (0, 1, 2)
CLIP = 1.0
ROWS = 32


class ClipsTheTarget(LaplaceMixin, Trainer):
    """Clips the target's gradient before the penalty's is added; the Trainer itself clips nothing."""

    def after_backward(self, loss_scale: float) -> None:
        nn.utils.clip_grad_norm_(self._adapted.parameters(), CLIP)
        super().after_backward(loss_scale)


class ClipsTheSum(LaplaceMixin, Trainer):
    """Clips as the Trainer does."""


def main() -> None:
    """Train with each way to clip, and measure."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of sampled labels and the order of rows")
    arguments = options.parse_args()
    steps: int = arguments.steps
    device = chosen_device()
    base = load_model(MODEL, torch.bfloat16).to(device)
    fitted = {name: text(name, 8, 4, device) for name in SOURCES}
    held = {name: text(name, 8 + ROWS, 8, device)[1:] for name in SOURCES}
    rows = text("gsm8k", 4 * steps + ROWS, 4, device)
    learned, scored = rows[:steps], rows[steps:]
    found: list[dict[str, Any]] = []
    ways = [(curvature, strength) for curvature, strengths in STRENGTHS.items() for strength in strengths]
    for seed, (curvature, strength), trainer in product(arguments.seeds, ways, (ClipsTheSum, ClipsTheTarget)):
        model = adapted(base, "all-linear", 16)
        laplace = lalora.fit(model, fitted, curvature=curvature, seed=seed, progress=False)
        norms = trained(trainer, model, laplace, strength, random.Random(seed).sample(learned, steps))
        drift = [score_text(model, part).kl for part in held.values()]
        found.append({
            "seed": seed, "curvature": curvature, "strength": strength, "clips": trainer.__name__,
            "target loss": score_text(model, scored).loss, "source KL": sum(drift) / len(drift),
            **{name: max(values) for name, values in norms.items()},
        })  # fmt: skip
        base = model.unload()
        report(found, steps, device)


def trained(
    trainer: type[LaplaceMixin], model: nn.Module, laplace: Laplace, strength: float, rows: Sequence[Batch]
) -> dict[str, list[float]]:
    """Train in place; return the norms of both gradients at each step."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    arguments = TrainingArguments(
        output_dir="runs/benchmarks/clipping", max_steps=len(rows), per_device_train_batch_size=1, learning_rate=2e-3,
        lr_scheduler_type="constant", max_grad_norm=0.0 if trainer is ClipsTheTarget else CLIP, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False, use_cpu=on_cpu,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    running: Any = trainer(
        model=model, args=arguments, train_dataset=list(rows), data_collator=lambda items: items[0],
        laplace=laplace, strength=strength,
    )  # fmt: skip
    running.train()
    history = [entry for entry in running.state.log_history if "grad_norm_penalty" in entry]
    return {name: [entry[name] for entry in history] for name in ("grad_norm_target", "grad_norm_penalty")}


def report(found: Sequence[dict[str, Any]], steps: int, device: torch.device) -> None:
    """Write the results so far."""
    head = list(found[0])
    rows = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in entry.values()] for entry in found]
    where = f"{steps} steps of 4 rows of GSM8K, {MODEL}, rank 16, all-linear, learning rate 2e-3, on {machine(device)}"
    publish(
        "clipping", f"{where}; norms are the largest of a run, before clipping.\n\n{table(head, rows)}", {"runs": found}
    )


if __name__ == "__main__":
    main()
