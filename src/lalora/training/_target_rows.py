"""Some of the rows that a Trainer trains on, batched as it batches them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from transformers import Trainer

from lalora.batches import Batch


def target_rows(trainer: Trainer, dataset: Any, count: int, seed: int) -> Sequence[Batch]:
    """Draw rows at random, or take the first ones of a stream, and collate them."""
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        places = sorted(random.Random(f"target {seed}").sample(range(len(dataset)), min(count, len(dataset))))
        chosen: Any = dataset.select(places) if hasattr(dataset, "select") else [dataset[place] for place in places]
    else:
        chosen = list(itertools.islice(iter(dataset), count))
    return [dict(batch) for batch in trainer.get_eval_dataloader(chosen)]
