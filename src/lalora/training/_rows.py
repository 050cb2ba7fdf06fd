"""The rows that methods put among those of a Trainer's own dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lalora.errors import LaloraError
from lalora.methods import InTurn

_KNOWN = ("input_ids", "labels", "attention_mask")


def with_rows_of(methods: InTurn, dataset: Any, seed: int) -> list[Mapping[str, Any]]:
    """Let methods choose the rows that are trained on, each with the columns and types of the dataset's own."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or len(dataset) == 0:
        raise LaloraError(f"'{methods.name}' mixes rows into the training data, which cannot be a stream or empty")
    rows = [dataset[index] for index in range(len(dataset))]
    columns = {name: isinstance(value, Tensor) for name, value in dict(rows[0]).items()}
    for name in sorted(columns.keys() - set(_KNOWN) or {"input_ids", "labels"} - columns.keys()):
        raise LaloraError(
            f"'{methods.name}' mixes rows of input_ids and labels into the training data, whose rows have the columns "
            f"{', '.join(columns)} ('{name}'): mix source rows in yourself, before the data are tokenised"
        )
    own = {id(row) for row in rows}
    return [row if id(row) in own else _alike(row, columns) for row in methods.training_rows(rows, seed)]


def _alike(row: Any, columns: dict[str, bool]) -> dict[str, Any]:
    made = {"attention_mask": [1] * len(row["input_ids"]), **row}
    return {name: torch.tensor(made[name]) if tensor else made[name] for name, tensor in columns.items()}
