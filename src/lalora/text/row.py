"""One row of any usual kind as tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError
from lalora.text.chat import answer, chat
from lalora.text.tokens import Item, encode, meeting

_HIDING = ("attention_mask", "completion_mask", "assistant_masks")
_KINDS = (("input_ids",), ("messages",), ("prompt", "completion"), ("text",))
_BESIDE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("input_ids",): ("labels", *_HIDING),
    ("messages",): ("tools",),
    ("prompt", "completion"): ("tools",),
}
_PACKED = ("seq_lengths", "cu_seq_lens_q", "position_ids", "pixel_values")


def known_columns(row: Any, where: str) -> dict[str, Any] | None:
    """Keep what is looked at of a row, a string as `text`; None if it is empty; refuse one of no known kind."""
    if isinstance(row, str):
        return {"text": row}
    if not isinstance(row, Mapping):
        raise LaloraError(f"{where} is a {type(row).__name__}: give a string, or a row with 'text' or 'messages'")
    there = {name: value for name, value in row.items() if value is not None and not _is_empty(value)}
    for columns in _KINDS:
        if all(name in there for name in columns):
            if columns == ("input_ids",) and (odd := [name for name in _PACKED if name in there]):
                raise LaloraError(f"{where}: rows of tokens with '{odd[0]}' are packed or hold images: give text alone")
            return {name: there[name] for name in (*columns, *_BESIDE.get(columns, ())) if name in there}
    if any(all(name in row for name in columns) for columns in _KINDS):
        return None
    raise LaloraError(
        f"{where} has {', '.join(f'{name!r}' for name in row) or 'no columns'}: it takes 'text', 'prompt' and "
        "'completion', 'messages', or 'input_ids'; rename the columns"
    )


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | tuple) and not value


def item_of(row: Any, where: str, tokenizer: PreTrainedTokenizerBase, longest: int | None) -> Item | None:
    """Encode a row, cut at its end (None: not at all); None if no token of it is learned.

    A string or `text` is learned whole; of `prompt` and `completion`, text or messages, the latter; of `messages` what
    the assistant says; of `input_ids` what `labels` say, or all that no mask hides. The tokenizer appends nothing
    (`without_appended`).
    """
    known = known_columns(row, where)
    found = None if known is None else _encoded(known, where, tokenizer)
    if found is None:
        return None
    cut = {name: values[:longest] for name, values in found.items()}
    return cut if any(label != -100 for label in cut["labels"][1:]) else None


def _encoded(row: Mapping[str, Any], where: str, tokenizer: PreTrainedTokenizerBase) -> Item | None:
    if "input_ids" in row:
        return _tokens(row, where)
    tools = row.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError as error:
            raise LaloraError(f"{where}: 'tools' is a text that is no JSON") from error
    if "messages" in row:
        return chat(_messages(row, "messages", where), tokenizer, where, tools)
    if "text" in row:
        return _text("", _string(row, "text", where), tokenizer)
    if isinstance(row["prompt"], str) or isinstance(row["completion"], str):
        return _text(_string(row, "prompt", where), _string(row, "completion", where), tokenizer)
    prompt, completion = (_messages(row, name, where) for name in ("prompt", "completion"))
    return answer(prompt, completion, tokenizer, where, tools)


def _string(row: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(row[name], str):
        raise LaloraError(f"{where}: '{name}' is a {type(row[name]).__name__}, not text")
    found: str = row[name]
    return found


def _text(prompt: str, completion: str, tokenizer: PreTrainedTokenizerBase) -> Item | None:
    if not completion.strip():
        return None
    ids = encode(tokenizer, prompt + completion)
    if not prompt:
        return {"input_ids": ids, "labels": list(ids)}
    # As TRL: a token in which both meet belongs to the completion, and so does the one that ends it.
    start = meeting(encode(tokenizer, prompt), ids)
    end = [] if tokenizer.eos_token_id is None or ids[-1:] == [tokenizer.eos_token_id] else [tokenizer.eos_token_id]
    return {"input_ids": ids + end, "labels": [-100] * start + ids[start:] + end}


def _tokens(row: Mapping[str, Any], where: str) -> Item:
    columns = {name: _list(values) for name, values in row.items()}
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
    for message in messages:
        parts = message.get("content")
        if isinstance(parts, list) and any(
            not isinstance(part, Mapping) or part.get("type") != "text" for part in parts
        ):
            raise LaloraError(f"{where}: a message holds more than text, such as an image: give text alone")
    found: Sequence[Mapping[str, Any]] = messages
    return found
