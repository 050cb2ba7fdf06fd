"""Source batches: by what names they come, and what is hashed of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from torch import Tensor

from lalora.batches import Batch
from lalora.errors import LaloraError

Sources = Mapping[str, Iterable[Batch]]


def named_sources(sources: Sources | Iterable[Batch]) -> Sources:
    """Give a lone iterable of batches the name `source`."""
    named = sources if isinstance(sources, Mapping) else {"source": sources}
    for name, batches in named.items():
        if isinstance(batches, Tensor):
            raise LaloraError(f"sources['{name}'] is a tensor: give an iterable of batches, not one batch")
        if "input_ids" in named:
            raise LaloraError("sources is one batch: give an iterable of batches, such as [batch]")
        if isinstance(batches, str | Mapping) or not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
            raise LaloraError(f"source '{name}' is a {type(batches).__name__}: give an iterable of batches")
    if not named:
        raise LaloraError("sources is empty: give at least one source dataset")
    return named


class ContentHash:
    """SHA-256 over what the mask shows of each row, so that batch size and padding change nothing."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._hash = hashlib.sha256()

    def add(self, batch: Mapping[str, Tensor]) -> None:
        """Add the rows of a batch."""
        visible = batch["attention_mask"].bool().cpu()
        for ids, labels, shown in zip(batch["input_ids"].cpu(), batch["labels"].cpu(), visible, strict=True):
            self._hash.update(f"{ids[shown].tolist()}{labels[shown].tolist()}".encode())
        for key in sorted(set(batch) - {"input_ids", "labels", "attention_mask", "position_ids"}):
            self._hash.update(key.encode() + batch[key].double().cpu().numpy().tobytes())

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._hash.hexdigest()
