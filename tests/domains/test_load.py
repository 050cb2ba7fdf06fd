"""Loading: the same columns from every place, and rows to train on never among the rows to score."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lalora.domains import DOMAINS, DomainData, load_domain, places
from lalora.domains.checked import checked
from lalora.errors import LaloraError

Rows = Callable[..., list[dict[str, Any]]]
Write = Callable[..., Path]


def asked(data: DomainData, side: str) -> set[str]:
    return {json.dumps([row[column] for column in data.domain.identity]) for row in getattr(data, side)}


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("file", ["data.jsonl", "data.jsonl.gz"])
def test_one_file_is_divided(name: str, file: str, rows: Rows, write: Write) -> None:
    data = load_domain(name, str(write(file, rows(name, 80))))
    assert len(data.train) + len(data.test) == 80
    assert abs(len(data.train) / 80 - data.domain.share) < 0.15
    assert not asked(data, "train") & asked(data, "test")
    assert all(list(row) == list(data.domain.columns) for row in data.train + data.test)
    assert data.note is None


def test_order_and_split_depend_on_the_content_alone(rows: Rows, write: Write) -> None:
    first = load_domain("gsm8k", str(write("a.jsonl", rows("gsm8k", 40))))
    second = load_domain("gsm8k", str(write("b.jsonl.gz", reversed(rows("gsm8k", 40)))))
    assert (first.train, first.test, first.sha) == (second.train, second.test, second.sha)
    more = load_domain("gsm8k", str(write("c.jsonl", rows("gsm8k", 60))))
    assert asked(first, "train") < asked(more, "train")
    assert more.sha["train"] != first.sha["train"]


def test_folder_with_two_splits(rows: Rows, write: Write) -> None:
    write("gsm8k/train.jsonl", rows("gsm8k", 5))
    folder = write("gsm8k/test.jsonl.gz", rows("gsm8k", 4, start=3)).parent
    data = load_domain("gsm8k", str(folder))
    assert len(data.train) == 5
    assert len(data.test) == 2
    assert data.note == "gsm8k: 2 rows that also occur in the training rows are not scored."


def test_folder_prefers_the_split_that_is_scored_elsewhere(rows: Rows, write: Write) -> None:
    write("w/train.jsonl", rows("winogrande", 5))
    write("w/test.jsonl", [{**row, "answer": ""} for row in rows("winogrande", 5, start=5)])
    folder = write("w/dev.jsonl", rows("winogrande", 3, start=10)).parent
    assert len(load_domain("winogrande", str(folder)).test) == 3


def test_folder_with_one_split_is_divided(rows: Rows, write: Write) -> None:
    folder = write("g/train.jsonl", rows("gsm8k", 40)).parent
    data = load_domain("gsm8k", str(folder))
    assert len(data.train) + len(data.test) == 40


def test_case_and_white_space_do_not_make_another_question(rows: Rows, write: Write) -> None:
    row = rows("gsm8k", 1)[0]
    write("g/train.jsonl", [row])
    same = {**row, "question": row["question"].upper().replace(" ", "  ")}
    folder = write("g/test.jsonl", [same, *rows("gsm8k", 1, start=7)]).parent
    assert len(load_domain("gsm8k", str(folder)).test) == 1


def test_twin_sentences_stay_together(rows: Rows, write: Write) -> None:
    twins = rows("winogrande", 60)
    for row in rows("winogrande", 60):
        sentence = row["sentence"].replace("large", "small")
        twins.append({"sentence": sentence, "option1": row["option2"], "option2": row["option1"], "answer": "1"})
    data = load_domain("winogrande", str(write("twins.jsonl", twins)))
    sides = [{frozenset((row["option1"], row["option2"])) for row in side} for side in (data.train, data.test)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 60


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=30))
def test_no_question_is_on_both_sides(questions: list[tuple[str, str]]) -> None:

    from lalora.domains.same_question import identity, share

    domain = DOMAINS["gsm8k"]
    shares: dict[str, float] = {}
    for question, answer in questions:
        row = {"question": question, "answer": answer}
        assert shares.setdefault(identity(domain, row), share(domain, row)) == share(domain, row)


def test_held_out_rows_are_all_scored(rows: Rows, write: Write) -> None:
    data = load_domain("lambada", str(write("text.jsonl", rows("lambada", 9))))
    assert (len(data.train), len(data.test)) == (0, 9)


def test_numbers_serve_as_labels(rows: Rows, write: Write) -> None:
    numbers = [{**row, "label": int(row["label"])} for row in rows("hellaswag", 30)]
    assert all(row["label"] == "1" for row in load_domain("hellaswag", str(write("h.jsonl", numbers))).test)


BROKEN = [
    ('{"question": "a", "answer": "b"}\n{"question": ', r"bad\.jsonl:2: not valid JSON"),
    ("\n[1, 2]\n", r"bad\.jsonl:2: expected a JSON object, found list"),
    ("", r"bad\.jsonl is empty; gsm8k needs at least one row"),
    ("\n\n", r"bad\.jsonl is empty"),
    ('{"question": "a"}\n', r"bad\.jsonl:1: no column 'answer'; gsm8k needs question, answer, the row has question"),
    ('{"question": "a", "answer": ["b"]}\n', r"bad\.jsonl:1: column 'answer' should be text, found a list"),
    ('{"question": "a", "answer": null}\n', r"bad\.jsonl: no rows left: the column 'answer' is empty"),
    ('{"question": null, "answer": "b"}\n', r"bad\.jsonl:1: column 'question' should be text, found null"),
    ('{"question": "a", "answer": "b"}\n', r"no rows to (score|train on) are left for gsm8k"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_files(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(LaloraError, match=message) as caught:
        load_domain("gsm8k", str(tmp_path / "bad.jsonl"))
    assert "\n" not in str(caught.value)


def test_no_answers(rows: Rows, write: Write) -> None:
    hidden = [{**row, "answer": ""} for row in rows("winogrande", 3)]
    with pytest.raises(LaloraError, match="no rows left: the column 'answer' is empty in all 3 of them"):
        load_domain("winogrande", str(write("test.jsonl", hidden)))


def test_missing_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaloraError, match=r"there is no data file .*nothing\.jsonl"):
        load_domain("gsm8k", "nothing.jsonl")
    with pytest.raises(LaloraError, match="there is no data file"):
        load_domain("gsm8k", str(tmp_path / "nothing"))
    with pytest.raises(LaloraError, match="holds none of train, test, validation, dev, val"):
        load_domain("gsm8k", str(tmp_path))
    with pytest.raises(LaloraError, match="no domain is called 'maths'; there are winogrande"):
        load_domain("maths")


@pytest.mark.parametrize("content", [b"plainly not gzip", b"\x1f\x8b\x08\x00"])
def test_broken_gzip(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(content)
    with pytest.raises(LaloraError, match=r"cannot read .*rows\.jsonl\.gz"):
        load_domain("gsm8k", str(tmp_path / "rows.jsonl.gz"))


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(LaloraError, match=r"rows\.jsonl:1: is not UTF-8"):
        load_domain("gsm8k", str(tmp_path / "rows.jsonl"))


class Hub:
    """Stands in for the hub: remembers what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data: Any, unavailable: str | None = None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.data = data
        monkeypatch.setattr(places, "why_unavailable", lambda *_: unavailable)
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def load(self, name: str, config: str | None) -> Any:
        self.asked.append((name, config))
        if isinstance(self.data, Exception):
            raise self.data
        return datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in self.data.items()})


@pytest.mark.parametrize("name", DOMAINS)
def test_the_hub_gives_the_same_rows_as_files(
    name: str, rows: Rows, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = DOMAINS[name].scored[0]
    splits = {"train": rows(name, 6), split: rows(name, 4, start=6)}
    hub = Hub(monkeypatch, splits)
    from_hub = load_domain(name, "hub")
    assert hub.asked == [(DOMAINS[name].hub, DOMAINS[name].config)]
    assert DOMAINS[name].hub in from_hub.origin
    for part, items in splits.items():
        folder = write(f"{name}/{part}.jsonl", items).parent
    from_files = load_domain(name, str(folder))
    assert (from_hub.train, from_hub.test, from_hub.sha) == (from_files.train, from_files.test, from_files.sha)


def test_another_data_set_on_the_hub(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"train": rows("gsm8k", 3), "test": [{"question": "q"}]})
    with pytest.raises(LaloraError, match="someone/maths test row 0: no column 'answer'"):
        load_domain("gsm8k", "someone/maths")
    assert hub.asked == [("someone/maths", None)]
    Hub(monkeypatch, {"other": rows("gsm8k", 3)})
    with pytest.raises(LaloraError, match="'someone/maths' has none of the splits train, test"):
        load_domain("gsm8k", "someone/maths")


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {}, unavailable="Name or service not known")
    with pytest.raises(LaloraError, match=r"cannot load 'openai/gsm8k' .*Name or service not known.*local"):
        load_domain("gsm8k", "hub")
    assert hub.asked == []
    Hub(monkeypatch, ConnectionError("gone\nfor good"))
    with pytest.raises(LaloraError, match=r"\(gone for good\)"):
        load_domain("gsm8k", "hub")


def test_checked_names_the_row() -> None:
    with pytest.raises(LaloraError, match="^here: no column 'text'"):
        checked(DOMAINS["lambada"], [("here", {"words": "a"})], "somewhere")


def test_what_is_not_embedded_says_so() -> None:
    with pytest.raises(LaloraError, match="math is not embedded: give hub"):
        load_domain("math")


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("name", "total"),
    [("winogrande", 1267), ("arc_challenge", 299), ("hellaswag", 10042), ("gsm8k", 1319), ("lambada", 5153)],
)
def test_embedded(name: str, total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = load_domain(name)
    assert len(data.train) + len(data.test) == total
    assert abs(len(data.train) / total - data.domain.share) < 0.04
    assert not asked(data, "train") & asked(data, "test")
    assert all(list(row) == list(data.domain.columns) for row in data.train + data.test)
    assert ("not comparable with published GSM8K numbers" in (data.note or "")) == (name == "gsm8k")
    assert os.listdir(tmp_path) == []
