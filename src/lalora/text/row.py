"""One row of any usual kind as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError
from lalora.text.chat import answer, chat
from lalora.text.example import Example
from lalora.text.tokens import Item, tokenize

_HIDING = ("attention_mask", "completion_mask", "assistant_masks")


def item_of(row: Any, where: str, tokenizer: PreTrainedTokenizerBase, longest: int) -> Item | None:
    """Encode a row, cut at its end; None if no token of it is learned.

    A string or `text` is learned whole; of `prompt` and `completion`, text or messages, the latter; of `messages` what
    the assistant says; of `input_ids` what `labels` say, or all that no mask hides.
    """
    found = _encoded(row, where, tokenizer)
    if found is None:
        return None
    cut = {name: values[:longest] for name, values in found.items()}
    return cut if any(label != -100 for label in cut["labels"][1:]) else None


def _encoded(row: Any, where: str, tokenizer: PreTrainedTokenizerBase) -> Item | None:
    if isinstance(row, str):
        return _text("", row, tokenizer, ends=False)
    if not isinstance(row, Mapping):
        raise LaloraError(
            f"{where} is a {type(row).__name__}: give a string, or a row with 'text', 'messages' or others"
        )
    tools = row.get("tools")
    if row.get("input_ids") is not None:
        return _tokens(row, where)
    if row.get("messages") is not None:
        return chat(_messages(row, "messages", where), tokenizer, where, tools)
    if row.get("prompt") is not None and row.get("completion") is not None:
        if isinstance(row["prompt"], str) and isinstance(row["completion"], str):
            return _text(row["prompt"], row["completion"], tokenizer, ends=True)
        prompt, completion = (_messages(row, name, where) for name in ("prompt", "completion"))
        return answer(prompt, completion, tokenizer, where, tools)
    if isinstance(row.get("text"), str):
        return _text("", row["text"], tokenizer, ends=False)
    raise LaloraError(
        f"{where} has {', '.join(f'{name!r}' for name in row) or 'no columns'}: it takes 'text', 'prompt' and "
        "'completion', 'messages', or 'input_ids'; rename the columns"
    )


def _text(prompt: str, completion: str, tokenizer: PreTrainedTokenizerBase, ends: bool) -> Item | None:
    if not completion.strip():
        return None
    try:
        return tokenize([Example(prompt, completion, ends)], tokenizer, 1 << 40)[0]
    except LaloraError as error:
        if "no completion tokens" in str(error):  # a single token, which nothing predicts
            return None
        raise


def _tokens(row: Mapping[str, Any], where: str) -> Item:
    columns = {name: _list(row[name]) for name in ("input_ids", "labels", *_HIDING) if row.get(name) is not None}
    ids = columns["input_ids"]
    if ids and isinstance(ids[0], list):
        raise LaloraError(f"{where}: input_ids has two dimensions, as of a batch: give a row at a time, or the batches")
    if odd := [name for name, values in columns.items() if len(values) != len(ids)]:
        raise LaloraError(f"{where}: {odd[0]} has {len(columns[odd[0]])} entries and input_ids {len(ids)}")
    labels = columns.get("labels", ids)
    for name in columns.keys() & set(_HIDING):
        labels = [label if shown else -100 for label, shown in zip(labels, columns[name], strict=True)]
    shown = columns.get("attention_mask", [1] * len(ids))
    return {
        name: [value for value, is_shown in zip(values, shown, strict=True) if is_shown]
        for name, values in (("input_ids", ids), ("labels", labels))
    }


def _list(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _messages(row: Mapping[str, Any], name: str, where: str) -> Sequence[Mapping[str, Any]]:
    messages = row[name]
    is_list = isinstance(messages, Sequence) and not isinstance(messages, str)
    if not is_list or not all(isinstance(one, Mapping) and "role" in one for one in messages):
        raise LaloraError(f"{where}: {name} has to be a list of messages, each with 'role' and 'content'")
    found: Sequence[Mapping[str, Any]] = messages
    return found
