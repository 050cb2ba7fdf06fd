"""`lalora.source_batches`: batches to fit and to measure on, from whatever text one has."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from lalora.errors import LaloraError, warn
from lalora.text.appended import without_appended
from lalora.text.english import ENGLISH, ENGLISH_FILE
from lalora.text.row import item_of
from lalora.text.rows import rows_of
from lalora.text.self_text import sample_text
from lalora.text.tokens import Item, batches

Text = Any
"""What `source_batches` takes, or a mapping of names to it."""
ROWS = 64
SELF = "self"
_SPLITS = {"train", "validation", "test"}
LONGEST = 1024
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
            of which each paragraph is a row) or of a folder of them; or `self`, for text that the model writes, or
            `english`, for the 48 paragraphs that come with the package.
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
        UserWarning: If there are fewer rows than another number than the default.
    """
    for name, number in (("rows", rows), ("batch_size", batch_size), ("max_length", max_length)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise LaloraError(f"{name} must be a whole number of 1 or more, not {number!r}")
    tokenizer = without_appended(tokenizer.tokenizer if isinstance(tokenizer, ProcessorMixin) else tokenizer)
    longest = min(tokenizer.model_max_length, LONGEST) if max_length is None else max_length
    if isinstance(data, str) and data == ENGLISH:
        data = ENGLISH_FILE
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
    # The same rows make the same batches, whatever the seed they were drawn by; no length comes first.
    made = batches(sorted(items, key=lambda item: (len(item["input_ids"]), item["input_ids"])), batch_size, pad)
    return random.Random("batches").sample(made, len(made))


def batches_of_sources(
    sources: Text,
    tokenizer: PreTrainedTokenizerBase | None,
    model: nn.Module,
    seed: int = 0,
    part: Callable[[list[dict[str, Tensor]]], Any] = list,
) -> Any:
    """Turn text into batches wherever it stands, of which `part` is taken, and leave batches as they are."""
    if isinstance(sources, Mapping) and "input_ids" not in sources:
        if sources.keys() & _SPLITS and all(hasattr(data, "column_names") for data in sources.values()):
            raise LaloraError(f"the text is a data set with the splits {', '.join(sources)}: give one of them")
        return {name: batches_of_sources(data, tokenizer, model, seed, part) for name, data in sources.items()}
    if isinstance(sources, Iterator):
        first = list(itertools.islice(sources, 1))
        rows = itertools.chain(first, sources)
        if not _is_text(first, tokenizer):
            return rows
        sources = rows
    elif not _is_text(sources, tokenizer):
        return sources
    if tokenizer is None:
        raise LaloraError(
            "the sources are text: give tokenizer= (a Trainer: processing_class=), or batches, as "
            "lalora.source_batches makes them"
        )
    return part(source_batches(sources, tokenizer, seed=seed, model=model))


def _is_text(data: Any, tokenizer: PreTrainedTokenizerBase | None) -> bool:
    if isinstance(data, str | Path):
        return True
    if hasattr(data, "column_names"):
        return tokenizer is not None or "input_ids" not in (data.column_names or ())
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, Tensor | Mapping):
        return False
    first = data[0] if len(data) else None
    if not isinstance(first, Mapping):
        return isinstance(first, str)
    ids = first.get("input_ids")
    # A row of tokens is a batch of one to whom no tokenizer is given.
    return ids is None or (tokenizer is not None and _dimensions(ids) == 1)


def _dimensions(ids: Any) -> int:
    if hasattr(ids, "ndim"):
        return int(ids.ndim)
    return 2 if len(ids) and hasattr(ids[0], "__len__") else 1


def _written(
    model: nn.Module | None, tokenizer: PreTrainedTokenizerBase, rows: int | None, length: int, seed: int
) -> list[Item]:
    if model is None or rows is None:
        raise LaloraError("the model writes the text of 'self': give model=, and how many rows")
    return sample_text(model, tokenizer, rows=rows, length=length, seed=seed)  # type: ignore[arg-type]
