"""Every curvature serves wherever `diagonal` does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

import lalora
from lalora import LaplaceTrainer
from lalora.adapter import snapshot
from tiny import batches, collate, lora, rows


@pytest.mark.parametrize("b_scale", [0.0, 0.2])
@pytest.mark.parametrize("curvature", ["kfac", "tri-kfac", "weight-kfac", "weight-diagonal"])
def test_training_holds_the_forecast_down(
    arguments: Callable[..., TrainingArguments], curvature: str, b_scale: float
) -> None:
    start = lora(dtype=torch.float64, b_scale=b_scale)
    laplace = lalora.fit(start, batches(rows(4), 2), curvature=curvature, progress=False)
    forecasts = []
    weights = []
    for size, accumulation, strength in ((4, 1, 0.0), (4, 1, 30.0), (1, 4, 30.0)):
        model = copy.deepcopy(start)
        args = arguments(
            max_steps=6, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation, max_grad_norm=0.5
        )
        options: dict[str, Any] = {"train_dataset": rows(24, seed=5), "data_collator": collate}
        LaplaceTrainer(model=model, args=args, laplace=laplace, strength=strength, **options).train()
        forecasts.append(laplace.forecast(model))
        weights.append(snapshot(model))
    assert 0 < forecasts[1] < 0.7 * forecasts[0]
    assert max(float((weights[1][name] - weights[2][name]).abs().max()) for name in weights[1]) < 1e-7
