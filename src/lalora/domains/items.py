"""Rows of a domain as tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lalora.domains.checked import Placed
from lalora.domains.domain import Domain
from lalora.domains.prompts import examples
from lalora.errors import LaloraError
from lalora.text import LONGEST, Row, item_of, tokenize, tokenize_short, without_appended
from lalora.text.tokens import UNLIMITED, Item


def items(domain: Domain, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[Item]:
    """Encode rows, cut at what the tokenizer allows.

    Of a user's own those without a token to learn are left out, and sources are cut as by `lalora.source_batches`. Of a
    task of the harness those whose prompt leaves no room are left out, and text of sources is cut alike.

    Args:
        domain: what they are rows of.
        rows: with its columns.
        tokenizer: of the model.

    Returns:
        One dict of `input_ids` and `labels` a row.

    Raises:
        LaloraError: a row does not fit, or none has a token to learn.
    """
    if domain.definition is not None:
        return _of_task(domain, rows, tokenizer)
    if not domain.own:
        return tokenize(examples(domain, rows), tokenizer)
    longest = tokenizer.model_max_length
    return list(_own(domain, rows, tokenizer, longest if domain.role == "target" else min(longest, LONGEST)).values())


def short_items(
    domain: Domain, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, longest: int
) -> dict[int, Item]:
    """Encode the rows that are short enough, whole, and leave the others out.

    Args:
        domain: what they are rows of.
        rows: with its columns.
        tokenizer: of the model.
        longest: the largest number of tokens; the tokenizer's own limit holds as well.

    Returns:
        The items by the number of their row, in order.
    """
    if not domain.own:
        return tokenize_short(examples(domain, rows), tokenizer, longest)
    limit = min(longest, tokenizer.model_max_length)
    found = _own(domain, rows, tokenizer, None)
    return {number: item for number, item in found.items() if len(item["input_ids"]) <= limit}


def _of_task(domain: Domain, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[Item]:
    limit = tokenizer.model_max_length
    found = []
    for item in tokenize(examples(domain, rows), tokenizer, UNLIMITED):
        is_text = item["labels"][0] != -100
        longest = min(limit, LONGEST) if is_text and domain.role != "target" else limit
        if any(label != -100 for label in item["labels"][1:longest]):
            found.append({name: values[:longest] for name, values in item.items()})
    if rows and not found:
        raise LaloraError(f"{domain.name}: no prompt of {len(rows):,} rows leaves room in {limit:,} tokens")
    return found


def _own(
    domain: Domain, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, longest: int | None
) -> dict[int, Item]:
    found, bare = {}, without_appended(tokenizer)
    for number, row in enumerate(rows):
        where = row.where if isinstance(row, Placed) else f"{domain.name}, row {number}"
        item = item_of(row, where, bare, longest)
        if item is not None:
            found[number] = item
    if rows and not found:
        raise LaloraError(f"{domain.name}: no row has a token to learn")
    return found
