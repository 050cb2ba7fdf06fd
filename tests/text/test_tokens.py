"""Tokens: the boundary where the harness has it, padding that counts nowhere."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedTokenizerBase

import tiny
from lalora.errors import LaloraError
from lalora.text import Example, batches, collate, tokenize, tokenize_short

WORDS = st.text(alphabet="ab cé .\n1", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def harness(tokenizer: PreTrainedTokenizerBase) -> HFLM:
    model = tiny.llama(vocab_size=len(tokenizer))
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=WORDS.filter(str.strip), completion=WORDS.filter(str.strip))
def test_boundary_of_the_harness(
    prompt: str, completion: str, tokenizer: PreTrainedTokenizerBase, harness: HFLM
) -> None:
    context, continuation = harness._encode_pair(prompt, completion)
    if not continuation:
        return
    (item,) = tokenize([Example(prompt, completion)], tokenizer)
    whole = tokenizer.encode(prompt + completion)
    assert item["input_ids"] == whole
    assert item["labels"] == [-100] * len(context) + continuation


def test_spaces_belong_to_the_completion(tokenizer: PreTrainedTokenizerBase) -> None:
    spaced, plain = tokenize([Example("She has ", "apples."), Example("She has", " apples.")], tokenizer)
    assert spaced == plain
    assert tokenizer.decode([i for i in plain["labels"] if i != -100]) == " apples."


def test_end_of_text(tokenizer: PreTrainedTokenizerBase) -> None:
    (item,) = tokenize([Example("2+2=", "4", ends=True)], tokenizer)
    assert item["input_ids"][-1] == item["labels"][-1] == tokenizer.eos_token_id


def test_plain_text_is_scored_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    (item,) = tokenize([Example("", "It was 3 o'clock")], tokenizer)
    assert item["input_ids"] == item["labels"] == tokenizer.encode("It was 3 o'clock")


def test_a_text_that_starts_with_the_special_token(tokenizer: PreTrainedTokenizerBase) -> None:
    (item,) = tokenize([Example("<bos>She", " has")], tokenizer)
    assert item["input_ids"].count(tokenizer.bos_token_id) == 1


def test_long_completions_are_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    (whole,) = tokenize([Example("She has", " 2 apples and 3 apples", ends=True)], tokenizer)
    (item,) = tokenize([Example("She has", " 2 apples and 3 apples", ends=True)], tokenizer, max_length=6)
    assert item == {key: values[:6] for key, values in whole.items()}


def test_prompt_longer_than_the_context(tokenizer: PreTrainedTokenizerBase) -> None:
    fine = Example("She has", " apples")
    long = Example("She has apples. " * 20, "Yes")
    with pytest.raises(
        LaloraError, match=r"the prompt of example 1 has \d+ tokens but the context holds 16: 'She has apples\."
    ) as caught:
        tokenize([fine, long], tokenizer, max_length=16)
    assert "\n" not in str(caught.value)
    with pytest.raises(LaloraError, match="but the context holds 512"):
        tokenize([Example("She has apples. " * 400, "Yes")], tokenizer)


@pytest.mark.parametrize("longest", [10, 1 << 20])
def test_only_whole_short_texts_are_kept(longest: int, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [
        Example("She has", " apples"),
        Example("She has apples. " * 400, "Yes"),
        Example("", "apples " * 400),
        Example("2", "+2"),
    ]
    kept = tokenize_short(texts, tokenizer, longest)
    assert list(kept) == [0, 3]
    assert list(kept.values()) == tokenize([texts[0], texts[3]], tokenizer)


def test_a_row_is_named_by_its_place(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(LaloraError, match=r"^data\.jsonl:7 has no completion tokens"):
        tokenize([Example("She has", "", where="data.jsonl:7")], tokenizer)
    with pytest.raises(LaloraError, match=r"^the prompt of data\.jsonl:7 has 3199 tokens"):
        tokenize([Example("She has apples. " * 400, "Yes", where="data.jsonl:7")], tokenizer)


@pytest.mark.parametrize("example", [Example("She has", ""), Example("", ""), Example("", "a")])
def test_nothing_to_learn_from(example: Example, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(LaloraError, match="example 0 has no completion tokens to learn from"):
        tokenize([example], tokenizer)


def test_collate_hides_what_it_adds(tokenizer: PreTrainedTokenizerBase) -> None:
    items = tokenize([Example("She", " has"), Example("She has", " 2 apples", ends=True)], tokenizer)
    assert tokenizer.pad_token_id is not None
    batch = collate(items, tokenizer.pad_token_id)
    assert {key: value.dtype for key, value in batch.items()} == dict.fromkeys(batch, torch.int64)
    for row, item in enumerate(items):
        length = len(item["input_ids"])
        assert batch["input_ids"][row, :length].tolist() == item["input_ids"]
        assert batch["labels"][row, :length].tolist() == item["labels"]
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (batch["labels"].shape[1] - length)
        assert (batch["labels"][row, length:] == -100).all()
    # The end-of-text token is also the pad token here, and yet the true one counts.
    assert batch["labels"][1, -1] == tokenizer.pad_token_id


def test_batches_keep_the_order(tokenizer: PreTrainedTokenizerBase) -> None:
    items = tokenize([Example("Ann has", f" {number}") for number in range(7)], tokenizer)
    cut = batches(items, 3, 0)
    assert [batch["input_ids"].shape[0] for batch in cut] == [3, 3, 1]
    rows = [
        row[mask.bool()].tolist()
        for batch in cut
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert rows == [item["input_ids"] for item in items]
