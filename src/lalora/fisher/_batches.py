"""Source batches: what is accepted, and what is counted and hashed of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lalora.errors import LaloraError

Batch = Mapping[str, Tensor]
Sources = Mapping[str, Iterable[Batch]]

_PACKING_KEYS = ("cu_seq_lens_q", "cu_seq_lens_k", "seq_lengths", "seq_idx")


def named_sources(sources: Sources | Iterable[Batch]) -> Sources:
    """Give a lone iterable of batches the name `source`.

    Args:
        sources: A mapping of names to iterables of batches, or one iterable.

    Returns:
        The mapping.

    Raises:
        LaloraError: If a single batch was given where an iterable of batches is needed, or nothing.
    """
    if not isinstance(sources, Mapping):
        return {"source": sources}
    for name, batches in sources.items():
        if isinstance(batches, Tensor):
            raise LaloraError(f"sources['{name}'] is a tensor: give an iterable of batches, not one batch")
    if not sources:
        raise LaloraError("sources is empty: give at least one source dataset")
    return sources


def checked(batch: Any, where: str, device: torch.device) -> dict[str, Tensor]:
    """Check one batch and move it to the model's device.

    Args:
        batch: `input_ids` and `labels` (rows, length), perhaps `attention_mask` (all visible without it).
        where: Name of the dataset and number of the batch, for the message.
        device: Where the model takes its inputs.

    Returns:
        `input_ids`, `labels` (-100 at hidden positions) and `attention_mask`, each (rows, length).

    Raises:
        LaloraError: If the batch is not a mapping, lacks a key, has other shapes, or holds packed rows.
    """
    if not isinstance(batch, Mapping):
        raise LaloraError(f"{where}: a batch must be a dict of tensors, not {type(batch).__name__}")
    missing = [key for key in ("input_ids", "labels") if key not in batch]
    if missing:
        raise LaloraError(f"{where}: the batch has no '{missing[0]}', only {sorted(batch)}")
    ids, labels = batch["input_ids"], batch["labels"]
    mask = batch.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    if not ids.shape == labels.shape == mask.shape or ids.dim() != 2:
        shapes = f"{tuple(ids.shape)}, {tuple(labels.shape)}, {tuple(mask.shape)}"
        raise LaloraError(f"{where}: input_ids, labels, attention_mask must all be (rows, length), not {shapes}")
    positions = batch.get("position_ids")
    restarts = positions is not None and bool(((positions == 0) & (mask != 0)).sum(dim=-1).gt(1).any())
    if restarts or any(key in batch for key in _PACKING_KEYS):
        raise LaloraError(f"{where}: rows are packed; the Fisher needs one sequence a row, so turn packing off here")
    shown = {"input_ids": ids, "labels": labels.masked_fill(mask == 0, -100), "attention_mask": mask}
    return {name: tensor.to(device) for name, tensor in shown.items()}


def with_completion(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out rows without a completion token: they say nothing, and must not depend on their neighbours.

    Args:
        batch: A checked batch.

    Returns:
        The other rows.
    """
    kept = (batch["labels"][:, 1:] != -100).any(dim=1)
    return {key: value[kept] for key, value in batch.items()}


def rows(batch: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Split a batch into batches of one row.

    Args:
        batch: Tensors of shape (rows, length).

    Yields:
        Each row as a batch.
    """
    for index in range(batch["input_ids"].shape[0]):
        yield {key: value[index : index + 1] for key, value in batch.items()}


class ContentHash:
    """SHA-256 over what the mask shows of each row, so that batch size and padding change nothing."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._hash = hashlib.sha256()

    def add(self, batch: Mapping[str, Tensor]) -> None:
        """Add the rows of a batch.

        Args:
            batch: A checked batch.
        """
        visible = batch["attention_mask"].bool().cpu()
        for ids, labels, shown in zip(batch["input_ids"].cpu(), batch["labels"].cpu(), visible, strict=True):
            self._hash.update(f"{ids[shown].tolist()}{labels[shown].tolist()}".encode())

    def hexdigest(self) -> str:
        """Return the hash so far.

        Returns:
            64 hexadecimal digits.
        """
        return self._hash.hexdigest()
