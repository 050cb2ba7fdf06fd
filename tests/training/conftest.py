"""What every test of a Trainer needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    def make(**settings: Any) -> TrainingArguments:
        return TrainingArguments(
            **{
                "output_dir": str(tmp_path / "out"),
                "max_steps": 10,
                "per_device_train_batch_size": 2,
                "learning_rate": 1e-2,
                "logging_steps": 1,
                "report_to": "none",
                "save_strategy": "no",
                "use_cpu": True,
                "disable_tqdm": True,
                "remove_unused_columns": False,
                "seed": 3,
                **settings,
            }
        )

    return make
