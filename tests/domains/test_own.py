"""Domains of a user's own: any name, rows of any usual kind, in any role."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from lalora import LaloraError
from lalora.domains import items, load_domain, short_items
from lalora.domains.domain import Role

ROWS: list[dict[str, Any]] = [
    {"prompt": f"How much is {n} and one?", "completion": f" It is {n + 1}.", "id": n} for n in range(30)
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_one_file_are_divided_and_hold_what_counts(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    data = load_domain("sums", str(write(tmp_path / "sums.jsonl", ROWS)), "target")
    assert data.domain.role == "target"
    assert data.domain.own
    assert len(data.train) + len(data.test) == 30
    assert min(len(data.train), len(data.test)) > 5
    assert all(row.keys() == {"prompt", "completion"} for row in data.train)
    again = load_domain("sums", str(write(tmp_path / "again.jsonl", ROWS[::-1])), "target")
    assert again.test == data.test
    (item,) = items(data.domain, data.test[:1], tokenizer)
    told = tokenizer.decode([label for label in item["labels"] if label != -100])
    assert told == data.test[0]["completion"] + "<eos>"
    assert list(short_items(data.domain, data.test, tokenizer, 3)) == []
    assert len(short_items(data.domain, data.test, tokenizer, 100)) == len(data.test)


def test_a_row_that_is_there_twice_is_on_one_side(tmp_path: Path) -> None:
    data = load_domain("notes", str(write(tmp_path / "notes.jsonl", [{"text": f"note {n % 10}"} for n in range(40)])))
    assert {row["text"] for row in data.train}.isdisjoint(row["text"] for row in data.test)


def test_paragraphs_and_folders(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("\n\n".join(f"Paragraph {n}." for n in range(20)))
    write(tmp_path / "one" / "b.jsonl", [{"text": f"Row {n}."} for n in range(20)])
    data = load_domain("mixed", str(tmp_path / "one"), "held-out")
    assert {row["text"].split()[0] for row in data.test} == {"Paragraph", "Row"}
    (tmp_path / "two").mkdir()
    write(tmp_path / "two" / "train.jsonl", ROWS[:3])
    write(tmp_path / "two" / "test.jsonl", ROWS[3:5])
    (tmp_path / "two" / "test.jsonl").unlink()
    (tmp_path / "two" / "test.txt").write_text("One.\n\nTwo.")
    data = load_domain("parted", str(tmp_path / "two"))
    assert (len(data.train), len(data.test)) == (3, 2)


def test_one_file_is_divided_alike_under_every_name_and_held_out_text_is_all_scored(tmp_path: Path) -> None:
    place = str(write(tmp_path / "sums.jsonl", ROWS))
    assert load_domain("one", place).test == load_domain("other", place).test
    assert len(load_domain("one", place, "held-out").test) == len(ROWS)
    twins = [{"text": text} for n in range(30) for text in (f"t {n}\nend", f"t {n} end")]
    data = load_domain("twins", str(write(tmp_path / "twins.jsonl", twins)))
    learned, scored = ({" ".join(row["text"].split()) for row in rows} for rows in (data.train, data.test))
    assert learned.isdisjoint(scored)
    words = str(write(tmp_path / "words.jsonl", [{"text": f"word {n}"} for n in range(20)]))
    assert load_domain("lambada", words, "source").train


def test_a_known_domain_can_have_another_role(tmp_path: Path) -> None:
    rows = [{"question": f"How much is {n} and one?", "answer": f"{n + 1} #### {n + 1}"} for n in range(12)]
    data = load_domain("gsm8k", str(write(tmp_path / "rows.jsonl", rows)), "source")
    assert (data.domain.role, data.domain.task) == (
        "source",
        load_domain("gsm8k", str(tmp_path / "rows.jsonl")).domain.task,
    )


WRONG: dict[str, tuple[str, list[Any], str]] = {
    "columns": ("mine", [{"question": "2?"}], r"rows.jsonl:1 has 'question': it takes 'text', 'prompt' and"),
    "a list": ("mine", [["a"]], "expected a JSON object, found list"),
    "nothing": ("mine", [], "is empty; mine needs at least one row"),
    "a name": ("my text", ROWS, "'my text' is no name for a domain"),
}


@pytest.mark.parametrize(("name", "rows", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_domain_is_named(name: str, rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LaloraError, match=message):
        load_domain(name, str(write(tmp_path / "rows.jsonl", rows)))


def test_a_row_that_is_not_what_its_columns_say_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    data = load_domain("mine", str(write(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": ["b"]}] * 2 + ROWS)))
    odd = [row for row in (*data.train, *data.test) if row["prompt"] == "a"]
    with pytest.raises(LaloraError, match=r"rows.jsonl:1: 'completion' is a list, not text"):
        items(data.domain, odd, tokenizer)


@pytest.mark.parametrize("role", ["source", "target", "held-out"])
def test_every_command_takes_them(
    role: Role,
    run: Callable[..., tuple[int, str, str]],
    tiny_model: Path,
    recipe_file: Callable[..., str],
    tmp_path: Path,
) -> None:
    words = ["the cat sat .", "the dog sat on the mat .", "a cat ."]
    place = write(
        tmp_path / "mine.jsonl", [{"text": f"{word} {n % 10} {n // 10}"} for n in range(20) for word in words]
    )
    recipe = recipe_file(**{role.replace("-", "_").replace("source", "sources"): {"mine": str(place)}})
    status, _, err = run("run", recipe, "--set", "grid=[{method: kl, strength: 1}]", "--out", tmp_path / "study")
    assert status == 0, err
    assert "mine" in (tmp_path / "study" / "report.html").read_text()
    final = json.loads((tmp_path / "study" / "results.json").read_text())["runs"][0]["final"]
    assert "mine" in final["loss"]
    assert ("mine" in final["kl"]) == (role != "target")


def test_a_curvature_and_an_evaluation_of_own_text(
    run: Callable[..., tuple[int, str, str]], tiny_model: Path, tmp_path: Path
) -> None:
    place = tmp_path / "mine.txt"
    place.write_text("\n\n".join(f"the cat sat on the mat {n % 10} {n // 10} ." for n in range(40)))
    status, _, err = run("fit", tiny_model, "--source", f"mine={place}", "--rank", 2, "--out", tmp_path / "laplace")
    assert status == 0, err
    card = json.loads((tmp_path / "laplace" / "laplace.json").read_text())
    assert "mine" in json.dumps(card)


def test_english_is_divided_like_a_file_and_all_scored_where_held_out(tmp_path: Path) -> None:
    data = load_domain("english")
    assert data.domain.own
    assert data.origin.startswith("embedded english")
    assert len(data.train) + len(data.test) == len(load_domain("english", role="held-out").test) == 48
    assert min(len(data.train), len(data.test)) >= 16
    ones_own = write(tmp_path / "rows.jsonl", [{"text": f"note {n}"} for n in range(20)])
    assert len(load_domain("english", str(ones_own), "held-out").test) == 20
    with pytest.raises(LaloraError, match="english comes with lalora and is not on the hub: leave the place out"):
        load_domain("english", "hub")


def test_a_training_measures_on_the_rows_of_english_that_the_fit_did_not_see(
    run: Callable[..., tuple[int, str, str]], mine: dict[str, Any], tmp_path: Path
) -> None:
    common = ("--dtype", "float32", "--rank", 2)
    train = ("train", mine["model"], "--target", f"gsm8k={mine['data'] / 'gsm8k.jsonl'}", "--steps", 2, "--laplace")
    assert run("fit", mine["model"], "--source", "english", "--rows", 8, *common, "--out", "same")[0] == 0
    status, out, err = run(*train, "same", *common, "--scored-rows", 5, "--learning-rate", 0.01, "--out", "one")
    assert status == 0, err
    assert " on 5 rows of english (" in out

    # A file of that name says nothing of where its rows are.
    place = write(
        tmp_path / "rows.jsonl", [{"text": row["text"]} for row in load_domain("english", role="held-out").test[:30]]
    )
    assert run("fit", mine["model"], "--source", f"english={place}", "--rows", 8, *common, "--out", "other")[0] == 0
    status, out, err = run(*train, "other", *common, "--scored-rows", 5, "--out", "two")
    assert status == 0, err
    assert "forgotten: not measured, there is no source to measure on" in out
