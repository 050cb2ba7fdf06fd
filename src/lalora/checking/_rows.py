"""A few rows of unequal length, and the ways to put them into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError

LENGTHS = (5, 9, 14)
_PROMPT = 2
Row = Mapping[str, Tensor]


def drawn_rows(tokenizer: PreTrainedTokenizerBase, tokens: int, lengths: Sequence[int] = LENGTHS) -> list[Row]:
    """Draw rows from the tokens of ordinary text; what was added to a vocabulary may stand for an image or a tool."""
    added = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    plain = torch.tensor([token for token in range(min(tokens, len(tokenizer))) if token not in added])
    if not len(plain):
        raise LaloraError("the tokenizer has no tokens but special ones that the model knows: is it the model's own?")
    generator = torch.Generator().manual_seed(0)
    rows: list[Row] = []
    for length in lengths:
        ids = plain[torch.randint(len(plain), (length,), generator=generator)]
        labels = ids.clone()
        labels[:_PROMPT] = -100
        rows.append({"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)})
    return rows


def batch_of(rows: Sequence[Row], pad: int, *, left: bool = False) -> dict[str, Tensor]:
    """Pad rows to one length, on the right or on the left."""
    longest = max(len(row["input_ids"]) for row in rows)
    fills = {"input_ids": pad, "labels": -100, "attention_mask": 0}

    def padded(values: Tensor, fill: int) -> Tensor:
        padding = values.new_full((longest - len(values),), fill)
        return torch.cat([padding, values] if left else [values, padding])

    return {key: torch.stack([padded(row[key], fill) for row in rows]) for key, fill in fills.items()}


def counted_positions(batch: Mapping[str, Tensor]) -> Tensor:
    """Count the positions of the visible tokens from zero."""
    return (batch["attention_mask"].cumsum(dim=1) - 1).clamp_min(0)
