"""Source batches: every usual kind of text, the same tokens as its trainers learn, in any container."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

import lalora
from lalora import LaloraError, source_batches
from tiny import llama

TEXTS = ["She has 2 apples and 3 apples.", "It was 3 o'clock.", "The trophy did not fit into the suitcase."]
ASKED = [{"role": "user", "content": "How many apples has she?"}]
TOLD = [{"role": "assistant", "content": "She has 2."}]
MORE = [{"role": "user", "content": "Not 3?"}, {"role": "assistant", "content": "No."}]
PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>"
    "{% endgeneration %}{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def chatting(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], PreTrainedTokenizerBase]:
    def with_template(template: str) -> PreTrainedTokenizerBase:
        changed = copy.deepcopy(tokenizer)
        changed.chat_template = template
        return changed

    return with_template


def rows_of(batches: list[dict[str, Tensor]]) -> list[tuple[list[int], list[int]]]:
    """Ids and labels without padding, in an order of their own."""
    return sorted(
        (ids[shown].tolist(), labels[shown].tolist())
        for batch in batches
        for ids, labels, shown in zip(batch["input_ids"], batch["labels"], batch["attention_mask"].bool(), strict=True)
    )


def learned(batches: list[dict[str, Tensor]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [tokenizer.decode([one for one in labels if one != -100]) for _, labels in rows_of(batches)]


def test_every_container_gives_the_same_rows(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    rows = [{"text": text} for text in TEXTS]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    (folder / "two.txt").write_text(f"\n{TEXTS[2]}\n")
    (tmp_path / "rows.jsonl").write_text(lines)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS))
    (tmp_path / "rows.txt").write_text("\n\n".join(TEXTS))
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    given: list[Any] = [
        TEXTS,
        tuple(TEXTS),
        iter(TEXTS),
        rows,
        Dataset.from_list(rows),
        IterableDataset.from_generator(lambda: iter(rows)),
        *(tmp_path / f"rows.{kind}" for kind in ("jsonl", "jsonl.gz", "json", "csv", "txt", "parquet")),
        str(tmp_path / "rows.jsonl"),
        folder,
    ]
    expected = sorted((ids, ids) for ids in (tokenizer.encode(text) for text in TEXTS))
    for data in given:
        assert rows_of(source_batches(data, tokenizer)) == expected, data


@pytest.mark.parametrize("template", [PLAIN, MARKED])
def test_of_a_conversation_the_assistants_words_are_learned(
    template: str, chatting: Callable[[str], PreTrainedTokenizerBase]
) -> None:
    tokenizer = chatting(template)
    whole = source_batches([{"messages": ASKED + TOLD + MORE}], tokenizer)
    assert learned(whole, tokenizer) == ["She has 2.</s>No.</s>"]
    assert tokenizer.decode(rows_of(whole)[0][0]) == (
        "<user>How many apples has she?</s><assistant>She has 2.</s><user>Not 3?</s><assistant>No.</s>"
    )
    last = source_batches([{"prompt": ASKED + TOLD + MORE[:1], "completion": MORE[1:]}], tokenizer)
    assert learned(last, tokenizer) == ["No.</s>"]
    assert rows_of(last)[0][0] == rows_of(whole)[0][0]


def test_a_template_that_rewrites_earlier_turns_counts_all_tokens_and_says_so(
    chatting: Callable[[str], PreTrainedTokenizerBase],
) -> None:
    tokenizer = chatting("{{ messages | length }}" + PLAIN)
    with pytest.warns(UserWarning, match="all tokens of a conversation count"):
        ((ids, labels),) = rows_of(source_batches([{"messages": ASKED + TOLD + MORE}], tokenizer))
    assert labels == ids


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ([{"prompt": "She has", "completion": " 2 apples."}], {"completion_only_loss": True}),
        ([{"messages": ASKED + TOLD + MORE}], {"assistant_only_loss": True}),
        ([{"prompt": ASKED, "completion": TOLD}], {"completion_only_loss": True}),
        ([{"prompt": "Q: 2+2?\nAnswer:\n", "completion": "4"}], {"completion_only_loss": True}),
        ([{"prompt": "She has ", "completion": "2 apples."}], {"completion_only_loss": True}),
    ],
)
def test_rows_are_those_that_trl_learns(
    rows: list[dict[str, Any]],
    asked: dict[str, Any],
    chatting: Callable[[str], PreTrainedTokenizerBase],
    tmp_path: Path,
) -> None:
    tokenizer = chatting(MARKED)
    args = SFTConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, disable_tqdm=True, **asked)
    trainer = SFTTrainer(
        model=llama(vocab_size=len(tokenizer)),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    ((own, own_labels),) = rows_of(source_batches(rows, tokenizer))
    assert own == ids
    assert own_labels == labels


def test_rows_of_tokens_keep_their_labels_and_lose_what_is_hidden(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [
        {"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "attention_mask": [1, 1, 1, 0]},
        {"input_ids": torch.tensor([8, 9, 10]), "completion_mask": torch.tensor([0, 0, 1])},
        {"input_ids": [11, 12]},
    ]
    assert rows_of(source_batches(rows, tokenizer)) == [
        ([5, 6, 7], [-100, 6, 7]),
        ([8, 9, 10], [-100, -100, 10]),
        ([11, 12], [11, 12]),
    ]


def test_as_many_rows_as_were_asked_for_have_something_to_learn(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = ["", "   ", *TEXTS, {"prompt": "too long " * 40, "completion": " yes"}] * 20
    batches = source_batches(rows, tokenizer, rows=20, batch_size=7, max_length=30)
    assert sorted(len(batch["input_ids"]) for batch in batches) == [6, 7, 7]
    assert max(batch["input_ids"].shape[1] for batch in batches) <= 30
    assert len(rows_of(source_batches(TEXTS * 50, tokenizer, rows=None))) == 150


def test_rows_are_drawn_by_the_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [f"She has {number} apples." for number in range(100)]
    draws = [rows_of(source_batches(texts, tokenizer, rows=8, seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    all_of_them = [source_batches(texts, tokenizer, rows=None, seed=seed) for seed in (0, 1)]
    for one, other in zip(*all_of_them, strict=True):
        assert torch.equal(one["input_ids"], other["input_ids"])
    with pytest.warns(UserWarning, match="the text has 3 rows with a token to learn, not 8"):
        source_batches(TEXTS, tokenizer, rows=8)


WRONG: dict[str, tuple[Any, str]] = {
    "no file": ("no-such-file.jsonl", "there is no data file no-such-file.jsonl"),
    "a text for a path": ("She has 2 apples.", r"is no file or folder: a text itself stands in a list, \[text\]"),
    "a split too many": ({"train": TEXTS}, r"a mapping of \['train'\]: give one of them"),
    "a number": (3, "the text is a int: give strings, rows with"),
    "other columns": ([{"question": "2?", "answer": "2"}], "row 0 has 'question', 'answer': it takes 'text'"),
    "rows of numbers": ([3.5], "row 0 is a float: give a string"),
    "no template": ([{"messages": ASKED + TOLD}], "row 0 is a conversation, and the tokenizer has no chat template"),
    "messages as text": ([{"messages": "hello"}], "row 0: messages has to be a list of messages"),
    "packed rows": ([{"input_ids": [1, 2, 3], "seq_lengths": [1, 2]}], "row 0: rows of tokens with 'seq_lengths' are"),
    "an image": (
        [{"messages": [{"role": "user", "content": [{"type": "image"}]}]}],
        "row 0: a message holds more than text, such as an image",
    ),
    "a batch": ([{"input_ids": [[1, 2]]}], "row 0: input_ids has two dimensions, as of a batch"),
    "labels of another length": ([{"input_ids": [1, 2], "labels": [1]}], "row 0: labels has 1 entries and input_ids 2"),
    "nothing to learn": (["", {"input_ids": [1, 2], "labels": [1, -100]}], "no row with a token to learn"),
    "nobody to write": ("self", "the model writes the text of 'self': give model="),
}


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_text_is_named(data: Any, message: str, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(LaloraError, match=message):
        source_batches(data, tokenizer)


def test_odd_rows_are_passed_over(chatting: Callable[[str], PreTrainedTokenizerBase]) -> None:
    tokenizer = chatting(PLAIN)
    rows = [{"text": None}, {"messages": [], "text": "It was 3 o'clock."}, {"text": ""}, {"messages": TOLD + MORE}]
    assert sorted(learned(source_batches(rows, tokenizer), tokenizer)) == [
        "<assistant>She has 2.</s>No.</s>",
        "It was 3 o'clock.",
    ]


def test_without_an_end_a_completion_has_none(tokenizer: PreTrainedTokenizerBase) -> None:
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    ((ids, _),) = rows_of(source_batches([{"prompt": "She has", "completion": " 2."}], endless))
    assert ids == endless.encode("She has 2.")


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"rows": "all"}, {"batch_size": 0}, {"max_length": -1}])
def test_numbers_that_mean_nothing_are_named(wrong: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    (name,) = wrong
    with pytest.raises(LaloraError, match=f"{name} must be a whole number of 1 or more"):
        source_batches(TEXTS, tokenizer, **wrong)


def test_an_empty_folder_is_named(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(LaloraError, match="holds no file of text"):
        source_batches(tmp_path, tokenizer)


def test_fit_soften_and_drift_take_text(tokenizer: PreTrainedTokenizerBase) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(llama(vocab_size=len(tokenizer)), LoraConfig(r=2, target_modules="all-linear"))
    given = {"general": TEXTS, "own": source_batches(TEXTS[:2], tokenizer)}
    by_hand = lalora.fit(model, {"general": source_batches(TEXTS, tokenizer), "own": given["own"]}, progress=False)
    fitted = lalora.fit(model, given, tokenizer=tokenizer, progress=False)
    for name, tensor in by_hand.curvature.tensors().items():
        assert torch.equal(tensor, fitted.curvature.tensors()[name])
    for same in (iter(TEXTS), Dataset.from_dict({"text": TEXTS})["text"]):
        again = lalora.fit(model, {"general": same, "own": given["own"]}, tokenizer=tokenizer, progress=False)
        assert again.provenance.datasets == fitted.provenance.datasets
    row = {"input_ids": torch.tensor(tokenizer.encode(TEXTS[0]))}
    row["labels"] = row["input_ids"]
    assert lalora.fit(model, [row], progress=False).provenance.datasets[0].rows == 1
    both = DatasetDict(train=Dataset.from_dict({"text": TEXTS}), test=Dataset.from_dict({"text": TEXTS}))
    with pytest.raises(LaloraError, match="a data set with the splits train, test: give one of them"):
        lalora.fit(model, both, progress=False)
    written = lalora.fit(model, "self", tokenizer=tokenizer, progress=False)
    assert written.provenance.datasets[0].rows == 64
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    front = lalora.soften(model, TEXTS, source={"general": TEXTS}, tokenizer=tokenizer, progress=False)
    found = lalora.drift(model, {"general": TEXTS, "other": TEXTS[:1]}, tokenizer=tokenizer)
    assert found.low <= found.kl <= found.high
    assert found.kl > 0.01
    assert str(found).splitlines()[1].startswith("  general: KL ")
    front.apply(model, 1e3)
    assert lalora.drift(model, TEXTS, tokenizer=tokenizer).kl < 0.1 * found.kl
    with pytest.raises(LaloraError, match="the sources are text: give tokenizer="):
        lalora.fit(model, TEXTS, progress=False)


def test_english_comes_with_the_package(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    batches = source_batches("english", tokenizer)
    texts = [tokenizer.decode(ids) for ids, _ in rows_of(batches)]
    assert len(set(texts)) == 48
    assert all(80 <= len(text.split()) <= 120 for text in texts)
    assert len(rows_of(source_batches("english", tokenizer, rows=5))) == 5
    model = peft.get_peft_model(llama(0, vocab_size=len(tokenizer)), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    (seen,) = lalora.fit(model, "english", tokenizer=tokenizer, progress=False).provenance.datasets
    assert seen.rows == 48
