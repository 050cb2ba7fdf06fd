"""Text that a model writes itself: drawn from the base's own distribution, repeatable, kept as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from lalora import LaloraError
from lalora.text import read_text, sample_text, write_text
from tiny import llama, lora, shake
from tiny import tokenizer as words_of


def tokenizer() -> PreTrainedTokenizerFast:
    # The tiny model embeds its padding as zeros, after which every token is as likely as any other.
    words = words_of()
    words.bos_token = "a"
    return words


def test_tokens_come_from_the_models_own_distribution() -> None:
    model, words = llama(initializer_range=0.6), tokenizer()
    drawn = sample_text(model, words, rows=1000, length=2, temperature=0.7)
    first = torch.bincount(torch.tensor([item["input_ids"][1] for item in drawn]), minlength=31) / 1000
    with torch.no_grad():
        expected = (model(torch.tensor([[2]])).logits[0, -1].double() / 0.7).softmax(dim=-1)
    assert (first - expected).abs().sum() < 0.2
    assert (first - torch.full((31,), 1 / 31)).abs().sum() > 0.3


def test_cold_text_is_the_likeliest() -> None:
    model, words = llama(initializer_range=0.6), tokenizer()
    (item,) = sample_text(model, words, rows=1, length=6, temperature=1e-4)
    ids = torch.tensor([item["input_ids"]])
    with torch.no_grad():
        assert ids[0, 1:].tolist() == model(ids).logits[0, :-1].argmax(dim=-1).tolist()


def test_a_text_begins_with_the_first_token_which_is_no_completion_and_ends_with_the_last() -> None:
    for item in sample_text(llama(), tokenizer(), rows=20, length=30):
        ids = item["input_ids"]
        assert ids[0] == 2
        assert 0 not in ids[1:-1]
        assert len(ids) == 30 or ids[-1] == 0
        assert item["labels"] == [-100, *ids[1:]]


def test_the_same_seed_writes_the_same_whatever_the_adapter_and_leaves_the_random_state() -> None:
    model, words = lora(), tokenizer()
    model.train()
    state = torch.get_rng_state()
    first = sample_text(model, words, rows=3, length=10, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    shake(model, 1.0)
    assert sample_text(model, words, rows=3, length=10, seed=5) == first
    assert sample_text(llama(), words, rows=3, length=10, seed=5) == first
    assert sample_text(model, words, rows=3, length=10, seed=6) != first


def test_it_is_kept_as_a_file(tmp_path: Path) -> None:
    words = tokenizer()
    items = sample_text(llama(), words, rows=3, length=10)
    write_text(tmp_path / "text.jsonl", items, words, temperature=1.0, seed=0)
    assert read_text(tmp_path / "text.jsonl") == items
    assert (tmp_path / "text.jsonl").read_text().startswith('{"temperature": 1.0, "seed": 0}')
    (tmp_path / "text.jsonl").write_text("{}\nno json\n")
    with pytest.raises(LaloraError, match="text.jsonl holds no sampled text: delete it"):
        read_text(tmp_path / "text.jsonl")


def test_line_breaks_of_other_scripts_stay_in_their_line(tmp_path: Path) -> None:
    words = tokenizer()
    items = sample_text(llama(), words, rows=2, length=5)
    write_text(tmp_path / "text.jsonl", items, words, first="a\u2028b\u2029c\u0085d")
    assert read_text(tmp_path / "text.jsonl") == items


def test_the_models_own_ways_to_generate_change_nothing() -> None:
    model, words = llama(), tokenizer()
    plain = sample_text(model, words, rows=3, length=12)
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.min_p = 0.5
    assert sample_text(model, words, rows=3, length=12) == plain


def test_a_tokenizer_without_a_first_token_is_refused() -> None:
    words = tokenizer()
    words.bos_token = words.eos_token = None
    with pytest.raises(LaloraError, match="neither a bos nor an eos token"):
        sample_text(llama(), words, rows=1)
