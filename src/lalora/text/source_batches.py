"""`lalora.source_batches`: batches to fit and to measure on, from whatever text one has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError, warn
from lalora.text.row import item_of
from lalora.text.rows import rows_of
from lalora.text.self_text import sample_text
from lalora.text.tokens import Item, batches

Text = Any
"""What `source_batches` takes, or a mapping of names to it."""
ROWS = 64
SELF = "self"
_LONGEST = 1024
_OF_SELF = 128


def source_batches(
    data: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    rows: int | None = ROWS,
    batch_size: int = 8,
    max_length: int | None = None,
    seed: int = 0,
    model: nn.Module | None = None,
) -> list[dict[str, Tensor]]:
    """Make batches from text, for `lalora.fit`, `lalora.soften`, the sources of a Trainer or `lalora.drift`.

    Args:
        data: Strings; rows with `text`, with `prompt` and `completion` (text or messages), with `messages` (the chat
            template; what the assistant says is learned) or with `input_ids` (`labels` and masks if there are any); a
            list, a `datasets.Dataset` or a stream of such; the path of a file (.jsonl, .json, .csv, .parquet, or .txt,
            of which each paragraph is a row) or of a folder of them; or `self`, for text that the model writes.
        tokenizer: Of the model.
        rows: Most rows with a token to learn, drawn at random, or the first of a stream; None for all.
        batch_size: Rows a batch.
        max_length: Most tokens of a row, the rest is cut off; by default what the tokenizer allows, 1,024 at most.
        seed: Of the draw.
        model: The model that writes, for `self`.

    Returns:
        Batches of `input_ids`, `attention_mask` and `labels` (-100 where nothing is learned), each (rows, length)
        int64, rows of like length side by side.

    Raises:
        LaloraError: If the data are of no such kind, a row cannot be read, or none has a token to learn.

    Warns:
        UserWarning: If there are fewer rows than asked for.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor
    longest = min(tokenizer.model_max_length, _LONGEST) if max_length is None else max_length
    if isinstance(data, str) and data == SELF:
        items = _written(model, tokenizer, rows, min(longest, _OF_SELF), seed)
    else:
        found = (item_of(row, where, tokenizer, longest) for where, row in rows_of(data, seed))
        items = list(itertools.islice((item for item in found if item is not None), rows))
    if not items:
        raise LaloraError("the text has no row with a token to learn")
    if rows not in (None, ROWS) and len(items) < rows:
        warn(f"the text has {len(items)} rows with a token to learn, not {rows}")
    pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    pad = next(int(one) for one in pads if one is not None)
    return batches(sorted(items, key=lambda item: len(item["input_ids"])), batch_size, pad)


def batches_of_sources(
    sources: Text, tokenizer: PreTrainedTokenizerBase | None, model: nn.Module, seed: int = 0
) -> Any:
    """Turn text into batches wherever it stands, and leave batches as they are."""
    if isinstance(sources, Mapping) and "input_ids" not in sources:
        return {name: batches_of_sources(data, tokenizer, model, seed) for name, data in sources.items()}
    if not _is_text(sources):
        return sources
    if tokenizer is None:
        raise LaloraError("the sources are text: give tokenizer=, or batches, as lalora.source_batches makes them")
    return source_batches(sources, tokenizer, seed=seed, model=model)


def _is_text(data: Any) -> bool:
    if isinstance(data, str | Path) or hasattr(data, "column_names"):
        return True
    if not (isinstance(data, list | tuple) and data):
        return False
    first = data[0]
    return isinstance(first, str) or (isinstance(first, Mapping) and getattr(first.get("input_ids"), "ndim", 1) == 1)


def _written(
    model: nn.Module | None, tokenizer: PreTrainedTokenizerBase, rows: int | None, length: int, seed: int
) -> list[Item]:
    if model is None or rows is None:
        raise LaloraError("the model writes the text of 'self': give model=, and how many rows")
    return sample_text(model, tokenizer, rows=rows, length=length, seed=seed)  # type: ignore[arg-type]
