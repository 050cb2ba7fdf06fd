"""Prompts: word for word what the harness asks when it scores the same row."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from lalora.domains import DOMAINS, DomainData, examples, harness_tasks, load_domain
from lalora.domains.task_files import load_task
from lalora.errors import LaloraError
from lalora.text import Example

Rows = Callable[..., list[dict[str, Any]]]

WORDED = {
    "winogrande": Example("The trophy 3 did not fit into the suitcase because the trophy 3", " was too large."),
    "arc_challenge": Example("Question: What is 3 metres of ice made of?\nAnswer:", " water"),
    "hellaswag": Example("Knitting: A woman sits at table 3. She", " knits a scarf."),
    "math": Example("Problem: What is $3 + 2$?\nAnswer:", " 5", ends=True),
    "gsm8k": Example(
        "Question: Ann has 3 apples and buys 2. How many has she?\nAnswer:",
        " She has 3+2=<<3+2=5>>5.\n#### 5",
        ends=True,
    ),
    "lambada": Example("", "It was 3 o'clock, and the lamp went out"),
}


def data_of(name: str, test: list[dict[str, Any]]) -> DomainData:
    columns = DOMAINS[name].columns
    return DomainData(DOMAINS[name], "test", [], [{c: row[c] for c in columns} for row in test], None, {})


@pytest.mark.parametrize("name", DOMAINS)
def test_wording(name: str, rows: Rows) -> None:
    worded = examples(DOMAINS[name], rows(name, 5))
    assert len(worded) == 5
    assert worded[3] == WORDED[name]


def test_no_rows() -> None:
    assert examples(DOMAINS["gsm8k"], []) == []


def test_nothing_is_left_behind(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, temporary, cache = (tmp_path / name for name in ("work", "temporary", "cache"))
    for folder in (work, temporary, cache):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    shown = not datasets.are_progress_bars_disabled()
    examples(DOMAINS["hellaswag"], rows("hellaswag", 3))
    assert [os.listdir(folder) for folder in (work, temporary, cache)] == [[], [], []]
    assert shown == (not datasets.are_progress_bars_disabled())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("winogrande", {"sentence": "No blank here."}),
        ("winogrande", {"answer": "3"}),
        ("arc_challenge", {"answerKey": "Z"}),
        ("arc_challenge", {"choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"}),
        ("hellaswag", {"label": "one"}),
        ("hellaswag", {"label": "7"}),
    ],
)
def test_rows_that_do_not_fit(name: str, change: dict[str, Any], rows: Rows) -> None:
    first, second = rows(name, 2)
    with pytest.raises(LaloraError, match=f"{name}: .*not fit the task {name}") as caught:
        examples(DOMAINS[name], [first, {**second, **change}])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change"), [("winogrande", {"answer": "3"}), ("hellaswag", {"label": "one", "ctx_b": "so " * 500})]
)
def test_a_row_that_does_not_fit_is_named_by_file_and_line(
    name: str, change: dict[str, Any], rows: Rows, write: Callable[..., Path]
) -> None:
    written = rows(name, 9)
    written[4] |= change
    write("data/train.jsonl", written)
    folder = write("data/validation.jsonl", rows(name, 1, start=20)).parent
    data = load_domain(name, str(folder))
    with pytest.raises(LaloraError, match=r"data/train\.jsonl:5 does not fit the task .*; correct or remove") as caught:
        examples(data.domain, data.train)
    assert len(str(caught.value).replace(str(folder), "")) < 350


@pytest.mark.parametrize("name", [name for name in DOMAINS if DOMAINS[name].task])
def test_the_harness_asks_the_same(name: str, rows: Rows, tmp_path: Path) -> None:
    data = data_of(name, rows(name, 4))
    tasks = harness_tasks([data], tmp_path)
    assert tasks[name].name == f"lalora_{name}"
    task = load_task(tmp_path, tasks[name].name)
    docs = list(task.test_docs())
    assert len(docs) == 4
    for doc, example in zip(docs, examples(data.domain, data.test), strict=True):
        context = task.fewshot_context(doc, 0)
        requests = task.construct_requests(doc, context, metadata=(name, 0, 1))
        if example.ends:
            assert requests.arguments[0] == example.prompt
        else:
            assert sum(request.arguments == (example.prompt, example.completion) for request in requests) == 1


def test_the_right_answer_scores_as_right(rows: Rows, tmp_path: Path) -> None:
    # The harness's own scoring agrees on which completion is the right one.
    for name in ("winogrande", "arc_challenge", "hellaswag"):
        data = data_of(name, rows(name, 2))
        task = load_task(tmp_path, harness_tasks([data], tmp_path)[name].name)
        (first, *_), (example, *_) = list(task.test_docs()), examples(data.domain, data.test)
        requests = task.construct_requests(first, task.fewshot_context(first, 0), metadata=(name, 0, 1))
        likely = [
            (-1.0, True) if r.arguments == (example.prompt, example.completion) else (-9.0, False) for r in requests
        ]
        assert task.process_results(first, likely)["acc"] == 1.0


def test_text_has_no_task(rows: Rows, tmp_path: Path) -> None:
    data = [data_of("gsm8k", rows("gsm8k", 2)), data_of("lambada", rows("lambada", 5))]
    tasks = harness_tasks(data, tmp_path / "new")
    assert [(name, task.name) for name, task in tasks.items()] == [("gsm8k", "lalora_gsm8k")]
    assert len((tmp_path / "new" / "lalora_gsm8k.jsonl").read_text().splitlines()) == 2
    assert sorted(os.listdir(tmp_path / "new")) == ["lalora_gsm8k.jsonl", "lalora_gsm8k.yaml"]


def test_written_again_with_other_rows(rows: Rows, tmp_path: Path) -> None:
    for start in (0, 5):
        data = data_of("gsm8k", rows("gsm8k", 3, start=start))
        name = harness_tasks([data], tmp_path)["gsm8k"].name
        assert [doc["question"] for doc in load_task(tmp_path, name).test_docs()] == [r["question"] for r in data.test]


@pytest.mark.embedded
@pytest.mark.parametrize("name", [domain.name for domain in DOMAINS.values() if domain.embedded])
def test_every_embedded_row_can_be_worded(name: str) -> None:
    data = load_domain(name)
    worded = examples(data.domain, data.test)
    assert len(worded) == len(data.test)
    assert all(example.completion.strip() for example in worded)
