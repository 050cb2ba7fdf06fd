"""Files survive a kill at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from lalora.files import write_json
from lalora.study.store.records import append_row, cut_back, read_json, read_rows, write_text


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"step": 0, "loss": 0.1 + 0.2}, {"step": 1, "loss": 1e-300}]
    for row in rows:
        append_row(path, row)
    assert read_rows(path) == rows


@pytest.mark.parametrize("lost", range(1, 12))
def test_a_row_that_was_cut_short_is_no_row(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "rows.jsonl"
    for step in (0, 1):
        append_row(path, {"step": step})
    path.write_bytes(path.read_bytes()[:-lost])
    cut_back(path, 5)
    append_row(path, {"step": 9})
    # A line whose end alone is lost is whole.
    assert read_rows(path) == [{"step": 0}, *([{"step": 1}] if lost == 1 else []), {"step": 9}]


def test_later_rows_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for step in (0, 1, 2, 2, 3):
        append_row(path, {"step": step})
    cut_back(path, 2)
    assert [row["step"] for row in read_rows(path)] == [0, 1, 2, 2]
    cut_back(path, -1)
    assert path.read_text() == ""


def test_a_file_is_old_or_new_never_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "{")
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_damaged_file_reads_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(content)
    assert read_json(path) is None
    assert read_json(tmp_path / "none.json") is None
