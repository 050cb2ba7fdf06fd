"""Tokenizers that append or prepend tokens: prompts end where they end, and the end of a text stands once."""

from __future__ import annotations

import copy

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from lalora.errors import LaloraError
from lalora.text import Example, tokenize, without_appended

EXAMPLES = [
    Example("She has", " 2", ends=True),
    Example("She has", " 2"),
    Example("She has ", "2 apples and 3 apples", ends=True),
    Example("", "It was 3 o'clock"),
    Example("", "It was 3 o'clock", ends=True),
]


def adding(tokenizer: PreTrainedTokenizerBase, *pieces: str) -> PreTrainedTokenizerBase:
    """The tokenizer with another template around a text."""
    changed = copy.deepcopy(tokenizer)
    names = {piece for piece in pieces if piece != "$A"}
    ids = [(name, int(tokenizer.convert_tokens_to_ids(name))) for name in names]
    changed.backend_tokenizer.post_processor = TemplateProcessing(single=list(pieces), special_tokens=ids)
    return changed


def ends(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    assert isinstance(tokenizer.bos_token, str)
    assert isinstance(tokenizer.eos_token, str)
    return tokenizer.bos_token, tokenizer.eos_token


@pytest.mark.parametrize("template", [["$A", "E"], ["B", "$A", "E"], ["B", "$A", "B", "E"], ["E", "$A", "E"], ["$A"]])
def test_what_is_appended_counts_nowhere(template: list[str], tokenizer: PreTrainedTokenizerBase) -> None:
    first, last = ends(tokenizer)
    around = [{"B": first, "E": last}.get(piece, piece) for piece in template]
    before = around[: around.index("$A")]
    prepended = tokenizer.convert_tokens_to_ids(before)
    for example, item in zip(EXAMPLES, tokenize(EXAMPLES, adding(tokenizer, *around)), strict=True):
        text = tokenizer.encode(example.prompt + example.completion, add_special_tokens=False)
        prompt = tokenizer.encode(example.prompt.rstrip(), add_special_tokens=False)
        end = [tokenizer.eos_token_id] if example.ends else []
        assert item["input_ids"] == [*prepended, *text, *end]
        hidden = len(prepended) + len(prompt) if example.prompt else 0
        assert item["labels"] == [-100] * hidden + item["input_ids"][hidden:]


def test_several_prepended_tokens_are_no_completion(tokenizer: PreTrainedTokenizerBase) -> None:
    first, last = ends(tokenizer)
    (item,) = tokenize([Example("", "It was")], adding(tokenizer, first, last, "$A"))
    text = tokenizer.encode("It was", add_special_tokens=False)
    assert item["labels"] == [-100, -100, *text]


def test_an_end_that_the_text_has_already_is_not_repeated(tokenizer: PreTrainedTokenizerBase) -> None:
    _, last = ends(tokenizer)
    for one in (tokenizer, adding(tokenizer, "$A", last)):
        (item,) = tokenize([Example("She has", f" 2{last}", ends=True)], one)
        assert item["input_ids"].count(tokenizer.eos_token_id) == 1


def test_the_tokenizer_itself_stays_as_it_is(tokenizer: PreTrainedTokenizerBase) -> None:
    _, last = ends(tokenizer)
    appending = adding(tokenizer, "$A", last)
    before = appending.encode("She has")
    bare = without_appended(appending)
    assert bare is not appending
    assert bare.encode("She has") == before[:-1]
    assert appending.encode("She has") == before
    assert without_appended(tokenizer) is tokenizer


def test_a_tokenizer_in_python_that_appends() -> None:
    with pytest.raises(LaloraError, match="ByT5Tokenizer appends </s> to every text, prompts included"):
        tokenize(EXAMPLES, ByT5Tokenizer())
