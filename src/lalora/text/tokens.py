"""Examples as tokens, and tokens as batches."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError, short
from lalora.text.appended import added, without_appended
from lalora.text.example import Example

Item = dict[str, list[int]]
UNLIMITED = 1 << 40
"""More tokens than any text has."""


def tokenize(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
) -> list[Item]:
    """Encode examples with the token boundary where the harness has it.

    Trailing spaces of the prompt belong to the completion; the whole text is encoded at once and split after as many
    tokens as the prompt alone has. What the tokenizer appends to every text is left out; the end-of-text token stands
    once, after examples that end.

    Args:
        examples: the texts.
        tokenizer: the model's tokenizer.
        max_length: the largest number of tokens; longer completions are cut at their end. `None` for the
            tokenizer's own limit.

    Returns:
        One dict of `input_ids` and `labels` (-100 on the prompt) an example.

    Raises:
        LaloraError: a prompt leaves no room for a completion, or a completion has no tokens.
    """
    limit = tokenizer.model_max_length if max_length is None else max_length
    bare = without_appended(tokenizer)
    prepended, _ = added(bare)
    items = []
    for number, example in enumerate(examples):
        prompt = example.prompt.rstrip()
        text = example.prompt + example.completion
        where = example.where or f"example {number}"
        ids = encode(bare, text)
        # Nothing predicts a text's first token, but the first would be taken to predict a second one that is prepended.
        start = len(encode(bare, prompt)) if prompt else len(prepended) * (len(prepended) > 1)
        if example.ends and tokenizer.eos_token_id is not None and ids[start:][-1:] != [tokenizer.eos_token_id]:
            ids = [*ids, tokenizer.eos_token_id]
        if start >= limit:
            raise LaloraError(
                f"the prompt of {where} has {start} tokens but the context holds {limit}: "
                f"'{short(prompt)}'; raise the length or leave the row out"
            )
        if len(ids) <= max(start, 1):
            raise LaloraError(f"{where} has no completion tokens to learn from: '{short(text)}'")
        items.append({"input_ids": ids[:limit], "labels": [-100] * start + ids[start:limit]})
    return items


def tokenize_short(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, longest: int) -> dict[int, Item]:
    """Encode the examples that are short enough, whole, and leave the others out.

    Args:
        examples: the texts.
        tokenizer: the model's tokenizer.
        longest: the largest number of tokens; the tokenizer's own limit holds as well.

    Returns:
        The items of `tokenize` by the number of their example, in order.
    """
    limit = min(longest, tokenizer.model_max_length)
    items = tokenize(examples, tokenizer, UNLIMITED)
    return {number: item for number, item in enumerate(items) if len(item["input_ids"]) <= limit}


def collate(items: Sequence[Mapping[str, Sequence[int]]], pad_token_id: int) -> dict[str, Tensor]:
    """Put items of different lengths into one batch, padded on the right.

    Args:
        items: what `tokenize` returns.
        pad_token_id: the token that fills up; it is hidden by the mask, whatever it is.

    Returns:
        `input_ids`, `attention_mask` and `labels` (-100 without loss), each (rows, length) int64.
    """
    length = max(len(item["input_ids"]) for item in items)

    def padded(values: Sequence[int], fill: int) -> list[int]:
        return [*values, *[fill] * (length - len(values))]

    return {
        "input_ids": torch.tensor([padded(item["input_ids"], pad_token_id) for item in items]),
        "attention_mask": torch.tensor([padded([1] * len(item["input_ids"]), 0) for item in items]),
        "labels": torch.tensor([padded(item["labels"], -100) for item in items]),
    }


def batches(
    items: Sequence[Mapping[str, Sequence[int]]], batch_size: int, pad_token_id: int
) -> list[dict[str, Tensor]]:
    """Cut items into batches, in their order.

    Args:
        items: what `tokenize` returns.
        batch_size: the rows of a batch; the last one may have fewer.
        pad_token_id: the token that fills up.

    Returns:
        The batches of `collate`.
    """
    return [collate(items[start : start + batch_size], pad_token_id) for start in range(0, len(items), batch_size)]


def meeting(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens with which both begin.

    Args:
        one: tokens.
        other: tokens.

    Returns:
        How many are the same in both.
    """
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode a text as the harness does: with the special tokens, unless it brings the first one along.

    Args:
        tokenizer: one that appends nothing.
        text: the text.

    Returns:
        Its tokens.
    """
    bos = tokenizer.bos_token
    special = not (bos and text.startswith(bos))
    return list(tokenizer.encode(text, add_special_tokens=special))
