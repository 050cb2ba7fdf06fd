"""What was seen of a source dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """A source dataset as stage I saw it.

    Attributes:
        name: Its name.
        rows: Number of sequences.
        tokens: N, number of completion tokens.
        batches: Number of mini-batches with completion tokens.
        sha256: Hash of what the masks show, labels included; of several processes, the hash of their hashes in order.
    """

    name: str
    rows: int
    tokens: int
    batches: int
    sha256: str

    @classmethod
    def added_up(cls, parts: Sequence[Dataset]) -> Dataset:
        """Add up what several processes saw, in their order; what a single one saw stays as it is."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            parts[0].name,
            sum(part.rows for part in parts),
            sum(part.tokens for part in parts),
            sum(part.batches for part in parts),
            hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        )
