"""Data files of every kind that is read, and those that are none."""

from __future__ import annotations

import gzip
import json
import os
import socket
from pathlib import Path
from typing import Any

import pandas
import pytest
import zstandard

from hostile.sandbox import Sandbox
from lalora import LaloraError
from lalora.domains.load import load_domain
from lalora.text import read_rows

ROWS: list[dict[str, Any]] = [
    {"question": f"How much is {n} and one?", "answer": f"{n + 1} #### {n + 1}"} for n in range(12)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(path: Path) -> Path:
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(LINES.encode()))
    elif path.name.endswith(".zst"):
        path.write_bytes(zstandard.compress(LINES.encode()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif path.suffix == ".csv":
        pandas.DataFrame(ROWS).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pandas.DataFrame(ROWS).to_parquet(path)
    else:
        path.write_text(LINES)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.csv", "a.parquet"])
def test_every_kind_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    assert [row for _, row in read_rows(write(tmp_path / name))] == ROWS
    whole = load_domain("gsm8k", str(tmp_path / name))
    assert sorted(row["question"] for row in [*whole.train, *whole.test]) == sorted(row["question"] for row in ROWS)


def test_a_byte_order_mark_and_carriage_returns_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode())
    assert [row for _, row in read_rows(path)] == ROWS


def test_a_byte_order_mark_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf".join([LINES.encode()] * 2))
    with pytest.raises(LaloraError, match=r"a\.jsonl:13: not valid JSON"):
        list(read_rows(tmp_path / "a.jsonl"))


def test_a_long_cell_of_csv_is_read(tmp_path: Path) -> None:
    pandas.DataFrame([{"question": "x" * 200_000, "answer": "NA"}]).to_csv(tmp_path / "a.csv", index=False)
    assert [row for _, row in read_rows(tmp_path / "a.csv")] == [{"question": "x" * 200_000, "answer": "NA"}]


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train.jsonl", "train.csv", "test.jsonl"):
        write(tmp_path / name)
    with pytest.raises(LaloraError, match=r"holds train\.jsonl and train\.csv: which of them is 'train'\?"):
        load_domain("gsm8k", str(tmp_path))


@pytest.mark.parametrize("domain", ["gsm8k", "winogrande"])
def test_rows_without_an_answer_are_left_out(domain: str, tmp_path: Path) -> None:
    row = ROWS[0] if domain == "gsm8k" else {"sentence": "the _ sat", "option1": "cat", "option2": "dog", "answer": "1"}
    keys = ["question"] if domain == "gsm8k" else ["sentence", "option1"]
    rows = [
        {**row, **{key: f"{row[key]} {n}" for key in keys}, "answer": row["answer"] if n % 2 else " "}
        for n in range(40)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    whole = load_domain(domain, str(tmp_path / "a.jsonl"))
    assert len(whole.train) + len(whole.test) == 20


GOOD = json.dumps(ROWS[0])
DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "many digits": ("a.jsonl", (GOOD + '\n{"question": ' + "9" * 6000 + "}\n").encode(), "a.jsonl:2: not valid JSON"),
    "deep": ("a.jsonl", (GOOD + "\n" + "[" * 200_000 + "\n").encode(), "a.jsonl:2: not valid JSON"),
    "deep objects": ("a.jsonl", ('{"a":' * 200_000 + "\n").encode(), "a.jsonl:1: not valid JSON"),
    "no JSON": ("a.jsonl", b"question,answer\n1,2\n", "a.jsonl:1: not valid JSON"),
    "an array": ("a.jsonl", json.dumps(ROWS).encode(), "a.jsonl:1: expected a JSON object, found list"),
    "latin-1": ("a.jsonl", GOOD.encode() + b"\n\"caf\xe9\"\n", "a.jsonl:2: is not UTF-8"),
    "UTF-16": ("a.jsonl", LINES.encode("utf-16"), "a.jsonl:1: "),
    "cut gzip": ("a.jsonl.gz", gzip.compress(LINES.encode())[:-20], "cannot read .*a.jsonl.gz"),
    "no gzip": ("a.jsonl.gz", LINES.encode(), "cannot read .*a.jsonl.gz"),
    "NUL": ("a.jsonl", b"\0" * 1000, "a.jsonl:1: not valid JSON"),
    "a line without end": ("a.jsonl.gz", gzip.compress(b"x" * (70 << 20)), "a.jsonl.gz:1: longer than any row"),
    "no parquet": ("a.parquet", b"PAR1 nothing", "cannot read .*a.parquet"),
    "cut parquet": ("a.parquet", b"", "cannot read .*a.parquet"),
    "a json without rows": ("a.json", b"{", "a.json:1: not valid JSON"),
    "no zst": ("a.jsonl.zst", LINES.encode(), "cannot read .*a.jsonl.zst"),
    "blank lines without end": ("a.jsonl.gz", gzip.compress(b"\n" * 10**6), "a.jsonl.gz:10001: 10,000 blank lines"),
    "half a surrogate pair": ("a.jsonl", b'{"question": "\\ud800", "answer": "1"}', "a.jsonl:1: not valid"),
    "a column twice": ("a.jsonl", b'{"question": "a", "answer": "1", "answer": "2"}', "'answer' is there twice"),
    "nothing": ("a.jsonl", b"", "is empty; gsm8k needs at least one row"),
    "another kind": ("a.docx", b"x", "is of no kind that is read here"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_told_by_file_and_row(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LaloraError, match=message) as caught:
        load_domain("gsm8k", str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a socket", "a folder", "a link to nothing"])
def test_what_is_no_file_hangs_nothing(
    kind: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("a.jsonl")
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    outcome = sandbox.call("domains.test_files_of_others:told", str(path))
    assert not outcome.broken, outcome
    assert outcome.value
    assert outcome.grown < 100 * 2**20


def told(path: str) -> str:
    try:
        load_domain("gsm8k", path)
    except LaloraError as error:
        return str(error)
    return ""
