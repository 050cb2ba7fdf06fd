"""Rows of a user's own whose kind is said: what is kept of them, how multiple choice is worded, scored and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from lalora import LaloraError
from lalora.domains import OwnRows, examples, items, load_domain
from lalora.study.recipe.json_schema import recipe_schema

Run = Callable[..., tuple[int, str, str]]
COLUMNS: dict[str, Any] = {"kind": "multiple-choice", "question": "q", "choices": "options", "answer": "right"}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked(right: Any, options: Any = ("a cat", "a dog", "the mat"), question: Any = "Who sat?") -> dict[str, Any]:
    return {"q": question, "options": list(options) if isinstance(options, tuple) else options, "right": right}


def test_a_kind_chooses_among_the_columns(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [{"text": f"t {n}", "prompt": f"p {n}", "completion": f" c {n}", "id": n} for n in range(12)]
    place = write(tmp_path / "rows.jsonl", rows)
    for kind, columns in (("text", {"text"}), ("completion", {"prompt", "completion"})):
        data = load_domain("mine", OwnRows(path=place, kind=kind), "held-out")  # type: ignore[arg-type]
        assert all(row.keys() == columns for row in data.test)
    data = load_domain("mine", OwnRows(path=place, kind="text"), "held-out")
    (item,) = items(data.domain, data.test[:1], tokenizer)
    assert tokenizer.decode(item["input_ids"]) == data.test[0]["text"]
    with pytest.raises(LaloraError, match=r"rows.jsonl:1: no column 'messages', which kind: chat takes; the row has"):
        load_domain("mine", OwnRows(path=place, kind="chat"))


@pytest.mark.parametrize("right", [1, "1", "B", "b", "a dog"])
def test_the_answer_is_an_index_a_letter_or_the_text(right: Any, tmp_path: Path) -> None:
    place = write(tmp_path / "rows.jsonl", [asked(right)])
    data = load_domain("pets", OwnRows(path=place, **COLUMNS), "held-out")
    (worded,) = examples(data.domain, data.test)
    assert (worded.prompt, worded.completion) == ("Question: Who sat?\nAnswer:", " a dog")


def test_a_number_that_is_a_choice_is_that_choice(tmp_path: Path) -> None:
    place = write(tmp_path / "rows.jsonl", [asked("3", ("1", "2", "3"))])
    assert load_domain("sums", OwnRows(path=place, **COLUMNS), "held-out").test[0]["answerKey"] == "C"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such index": (asked(3), "'right' is 3 and names none of 3 choices: give an index from 0 to 2, a letter from A"),
    "negative": (asked(-1), "'right' is -1 and names none"),
    "true": (asked(True), "'right' is True and names none"),
    "null": (asked(None), "'right' is None and names none"),
    "another text": (asked("a horse"), "'right' is 'a horse' and names none"),
    "two at once": (asked("B", ("B", "A")), "'right' is 'B' and names more than one"),
    "one choice": (asked(0, ("a cat",)), "'options' has to be a list of 2 to 26 different texts"),
    "twins": (asked(0, ("a cat", "a cat")), "'options' has to be a list of 2 to 26 different texts"),
    "a text": (asked(0, "a cat"), "'options' has to be a list of 2 to 26 different texts"),
    "no question": (asked(0, question=" "), "'q' has to be a text that is not empty"),
    "a column": ({"q": "Who?", "options": ["a", "b"]}, "no column 'right', which kind: multiple-choice takes; the row"),
}


@pytest.mark.parametrize(("row", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_in_a_row_is_named_with_its_place(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    place = write(tmp_path / "rows.jsonl", [asked(0), row])
    with pytest.raises(LaloraError) as caught:
        load_domain("pets", OwnRows(path=place, **COLUMNS))
    assert f"rows.jsonl:2: {message}" in str(caught.value)


def test_a_study_measures_accuracy_of_it(run: Run, recipe_file: Callable[..., str], tmp_path: Path) -> None:
    rows = [asked(n % 3, question=f"Who sat {n % 10} {n // 10} ?") for n in range(24)]
    (tmp_path / "pets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = recipe_file(sources={"pets": {"path": str(tmp_path / "pets.jsonl"), **COLUMNS}}, accuracy_rows=4)
    status, _, err = run("run", recipe, "--set", "grid=[{method: kl, strength: 1}]", "--out", tmp_path / "study")
    assert status == 0, err
    final = json.loads((tmp_path / "study" / "results.json").read_text())["runs"][0]["final"]
    assert final["accuracy"]["pets"] in (0, 0.25, 0.5, 0.75, 1)
    assert final["kl"]["pets"] > 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a kind": ({"mine": {"path": "rows.jsonl", "kind": "chats"}}, "'kind' is 'chats'"),
    "a key": ({"mine": {"path": "rows.jsonl", "colour": "red"}}, "unknown key 'colour'"),
    "no path": ({"mine": {"kind": "chat"}}, "'path' is missing"),
    "a known name": ({"winogrande": {"path": "rows.jsonl", "kind": "text"}}, "winogrande has columns of its own"),
}


@pytest.mark.parametrize(("sources", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistake_in_a_recipe_is_one_line(
    sources: dict[str, Any], message: str, refused: Callable[..., str], recipe_file: Callable[..., str]
) -> None:
    assert message in refused("run", recipe_file(sources=sources), "--out", "study")


def test_the_schema_of_recipes_describes_it() -> None:
    schema = recipe_schema()
    described = schema["properties"]["base"]["properties"]["sources"]["additionalProperties"]
    reference, of_task = [one["$ref"] for one in described["anyOf"] if "$ref" in one]
    assert of_task.endswith("HarnessTask")
    found = schema
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    assert set(found["properties"]) == {"path", "kind", "question", "choices", "answer"}
