"""Batches that several processes hold alike, dealt out among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lalora import processes
from lalora.batches import Batch, with_completion


@dataclass(frozen=True)
class Part:
    """What one process takes of the batches: its rows keep their numbers, and so the labels that are drawn for them.

    Attributes:
        batches: Its batches, which may be none.
        first_row: Number of its first row among the rows with a completion.
    """

    batches: Sequence[Batch]
    first_row: int

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """Go through the batches."""
        return iter(self.batches)


def own_part(batches: Sequence[Batch]) -> Part:
    """Take what this process works on, so that each batch is one process's."""
    share = -(-len(batches) // processes.world_size())
    start = processes.rank() * share
    before = sum(len(with_completion(batch)["input_ids"]) for batch in batches[:start])
    return Part(batches[start : start + share], before)
