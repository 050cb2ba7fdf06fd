"""One row of metrics from a set that is prepared once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import PreTrainedTokenizerFast

from lalora import LaloraError
from lalora.domains import DomainData, examples
from lalora.evaluation import EvalSet, evaluate
from lalora.scoring import score_text
from lalora.text import batches, tokenize

SOURCES = ("winogrande", "arc_challenge", "hellaswag")
Data = dict[str, DomainData]


def test_a_row_has_every_domain_and_the_means_of_each_role(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    evalset = EvalSet.prepare(
        list(data.values()),
        tokenizer,
        tmp_path,
        scored_rows=3,
        accuracy_rows=2,
        target_accuracy_rows=1,
        max_new_tokens=3,
        batch_size=2,
    )
    row = json.loads(json.dumps(evaluate(model, tokenizer, evalset, step=7, accuracy=True)))

    assert (row["step"], row["kind"]) == (7, "eval")
    assert set(row["loss"]) == set(data)
    assert set(row["kl"]) == set(data) - {"gsm8k"}
    assert set(row["accuracy"]) == set(data) - {"lambada"}
    for mean, values in [("source_loss", "loss"), ("source_kl", "kl"), ("source_accuracy", "accuracy")]:
        assert row[mean] == pytest.approx(sum(row[values][name] for name in SOURCES) / 3)
    assert row["target_loss"] == row["loss"]["gsm8k"]
    assert row["target_accuracy"] == row["accuracy"]["gsm8k"]
    assert (row["heldout_loss"], row["heldout_kl"]) == (row["loss"]["lambada"], row["kl"]["lambada"])


def test_the_first_rows_are_scored_and_sorting_them_changes_nothing(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    evalset = EvalSet.prepare(list(data.values()), tokenizer, tmp_path, scored_rows=2, batch_size=2)
    row = evaluate(model, tokenizer, evalset, step=0, accuracy=True)
    assert "accuracy" not in row
    for name, one in data.items():
        items = tokenize(examples(one.domain, one.test[:2]), tokenizer)
        score = score_text(model, batches(items, 1, 0))
        assert row["loss"][name] == pytest.approx(score.loss, rel=1e-5)
        assert row["kl"].get(name, score.kl) == pytest.approx(score.kl, rel=1e-4)


def test_what_is_not_measured_has_no_key(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    evalset = EvalSet.prepare([data["gsm8k"]], tokenizer, tmp_path, scored_rows=2, target_accuracy_rows=1)
    row = evaluate(model, tokenizer, evalset, step=0, accuracy=False)
    assert set(row) == {"step", "kind", "loss", "kl", "target_loss", "rows", "accuracy_rows"}


def test_long_target_rows_are_left_out(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    lengths = [
        len(item["input_ids"]) for item in tokenize(examples(data["gsm8k"].domain, data["gsm8k"].test), tokenizer)
    ]
    longest = sorted(lengths)[0]
    kept = [length for length in lengths if length <= longest]
    evalset = EvalSet.prepare(
        [data["gsm8k"]], tokenizer, tmp_path, scored_rows=4, target_accuracy_rows=4, max_length=longest
    )
    assert sum(len(batch["input_ids"]) for batch in evalset.text["gsm8k"]) == len(kept) < len(lengths)
    assert len((tmp_path / "lalora_gsm8k.jsonl").read_text().splitlines()) == len(kept)
    with pytest.raises(LaloraError, match="no row of here that is scored has 3 tokens or fewer"):
        EvalSet.prepare([data["gsm8k"]], tokenizer, tmp_path, scored_rows=4, max_length=3)


@pytest.mark.parametrize("max_length", [100, 10_000])
def test_a_target_row_longer_than_the_context_is_left_out_too(
    tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path, max_length: int
) -> None:
    gsm8k = data["gsm8k"]
    prompt, answer = ({**gsm8k.test[0], column: "long " * 200} for column in ("question", "answer"))
    target = replace(gsm8k, test=[prompt, answer, *gsm8k.test])
    evalset = EvalSet.prepare(
        [target], tokenizer, tmp_path, scored_rows=9, target_accuracy_rows=9, max_length=max_length, batch_size=9
    )
    (batch,) = evalset.text["gsm8k"]
    assert batch["input_ids"].shape[0] == len(gsm8k.test)
    assert int(batch["attention_mask"].sum(1).max()) <= min(max_length, 512)
    assert "long long" not in (tmp_path / "lalora_gsm8k.jsonl").read_text()


def test_the_base_models_row_tells_of_how_many_rows_all_are(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    sizes = {"scored_rows": 3, "target_accuracy_rows": 1, "max_new_tokens": 3, "batch_size": 2}
    evalset = EvalSet.prepare(list(data.values()), tokenizer, tmp_path, **sizes)
    row = evaluate(model, tokenizer, evalset, step=0, accuracy=False)
    assert row["rows"] == {name: min(3, len(one.test)) for name, one in data.items()}
    assert row["accuracy_rows"] == {"gsm8k": 1}
    assert "rows" not in evaluate(model, tokenizer, evalset, step=1, accuracy=False)
