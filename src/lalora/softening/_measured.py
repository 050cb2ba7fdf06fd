"""What held-out rows say of a model: its loss on the target, its drift on each source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from lalora.adapter import peft_model
from lalora.batches import Batch
from lalora.errors import LaloraError
from lalora.fisher import ContentHash, Sources, named_sources
from lalora.scoring import Compared, Interval, RowScores, interval, ready_batches, score_loss


@dataclass(frozen=True)
class Measured:
    """A model on held-out rows.

    Attributes:
        sources: Scores of each row, by source.
        target_loss: Nats per token; None where no target rows were given.
    """

    sources: Mapping[str, RowScores]
    target_loss: float | None = None

    @property
    def drift(self) -> float:
        """KL(base ‖ model) in nats per token, averaged over the sources."""
        return sum(rows.mean_kl for rows in self.sources.values()) / len(self.sources)

    @property
    def interval(self) -> Interval:
        """The drift with a bootstrap interval over rows."""
        return interval(self.sources)


class HeldOut:
    """Rows that no fit saw; what the base says of them is kept, so that each measurement is one forward pass."""

    def __init__(
        self,
        model: nn.Module,
        sources: Sources | Iterable[Batch] | None = None,
        target: Iterable[Batch] | None = None,
        base: nn.Module | None = None,
    ) -> None:
        """Take the rows."""
        self.model = peft_model(model) if base is None else model
        named = {} if sources is None else named_sources(sources)
        self.sources = {name: Compared(model, batches, base) for name, batches in named.items()}
        self.target = None if target is None else list(ready_batches(model, target))

    def measure(self) -> Measured:
        """Measure the model as it is now."""
        loss = None if self.target is None else score_loss(self.model, self.target)
        return Measured({name: text.score() for name, text in self.sources.items()}, loss)

    def require_unseen(self, fitted: Collection[str]) -> None:
        """Refuse to measure on rows that something was fitted on, by the hashes of rows and datasets."""
        for name, found in self.hashes.items():
            if not found.isdisjoint(fitted):
                raise LaloraError(f"rows of {name} were fitted on: measure on others")

    @cached_property
    def hashes(self) -> dict[str, set[str]]:
        """Hashes of the rows, by name of the text."""
        found = {f"source '{name}'": hashes(text.batches) for name, text in self.sources.items()}
        return found | ({} if self.target is None else {"the target": hashes(self.target)})


def hashes(batches: Sequence[Batch]) -> set[str]:
    """Hash a text as a Laplace hashes a dataset, and each of its rows as if it were one."""
    found, whole = set(), ContentHash()
    for batch in batches:
        whole.add(batch)
        for number in range(len(batch["input_ids"])):
            row = ContentHash()
            row.add({key: value[number : number + 1] for key, value in batch.items() if _by_row(batch, value)})
            found.add(row.hexdigest())
    return found | {whole.hexdigest()} if batches else found


def _by_row(batch: Batch, value: torch.Tensor) -> bool:
    return value.dim() > 0 and value.shape[0] == len(batch["input_ids"])
