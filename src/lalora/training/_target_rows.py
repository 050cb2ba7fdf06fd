"""Some of the rows that a Trainer trains on, batched as it batches them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn
from transformers import Trainer

from lalora.batches import Batch
from lalora.errors import LaloraError
from lalora.undisturbed import random_state_kept


def target_rows(trainer: Trainer, dataset: Any, count: int, seed: int) -> Sequence[Batch]:
    """Draw rows at random and collate them."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise LaloraError("they are a stream, which would lose those that are taken")
    places = sorted(random.Random(f"target {seed}").sample(range(len(dataset)), min(count, len(dataset))))
    chosen: Any = dataset.select(places) if hasattr(dataset, "select") else [dataset[place] for place in places]
    # Not the loader of evaluation, which a Trainer may keep; one draws a seed of the random state.
    with random_state_kept(cast("nn.Module", trainer.model)):
        found = list(trainer.get_test_dataloader(chosen))
    if odd := [batch for batch in found if not isinstance(batch, Mapping)]:
        raise LaloraError(f"the collator makes a {type(odd[0]).__name__} of them")
    return [dict(batch) for batch in found]
