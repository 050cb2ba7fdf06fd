"""The strength where none is given, and the warning of one that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

import lalora
from lalora.curvature import FITTED
from lalora.methods import EwcLora, LaLoRA
from lalora.methods.lalora import ENOUGH_STEPS
from tiny import batches, collate, lora, rows, shake


@pytest.mark.parametrize("curvature", FITTED)
def test_each_curvature_has_its_own(curvature: str) -> None:
    model = lora(b_scale=0.2)
    laplace = lalora.fit(model, batches(rows(4), 2), curvature=curvature, progress=False)
    strength = FITTED[curvature].strength
    assert laplace.strength == LaLoRA(curvature=curvature).strength == LaLoRA(laplace=laplace).strength == strength
    assert lalora.LaplaceCallback(laplace).strength == strength
    shake(model)
    assert torch.equal(laplace.penalty(model), laplace.penalty(model, strength))


def test_a_method_with_a_fixed_curvature_has_that_ones() -> None:
    assert EwcLora().strength == FITTED["weight-diagonal"].strength


@pytest.fixture
def trained(tmp_path: Any) -> Callable[[float, int], None]:
    def train(strength: float, steps: int) -> None:
        model = lora(b_scale=0.2)
        args = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=steps,
            learning_rate=1e-3,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        laplace = lalora.fit(model, batches(rows(4), 2), progress=False)
        lalora.LaplaceTrainer(
            model=model,
            args=args,
            train_dataset=rows(16),
            data_collator=collate,
            laplace=laplace,
            strength=strength,
        ).train()

    return train


def test_a_penalty_that_is_not_felt_is_told(trained: Callable[[float, int], None]) -> None:
    with pytest.warns(UserWarning, match=r"was not felt: .* with strength 1e-06; try about \de[+-]\d\d"):
        trained(1e-6, ENOUGH_STEPS + 2)


@pytest.mark.parametrize(("strength", "steps"), [(1e4, ENOUGH_STEPS + 2), (0.0, ENOUGH_STEPS + 2), (1e-6, 4)])
def test_one_that_is_felt_or_none_or_a_short_training_is_not(
    trained: Callable[[float, int], None], strength: float, steps: int
) -> None:
    trained(strength, steps)
