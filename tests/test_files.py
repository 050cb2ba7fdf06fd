"""A file is old or new, never between, and belongs to its user's umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from pathlib import Path

import pytest

from lalora.domains import DOMAINS
from lalora.domains.task_files import write_task
from lalora.files import write_atomically, write_json
from lalora.report import Findings, draw
from lalora.results import parse


@pytest.fixture(params=[0o022, 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Generator[int, None, None]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_decides_who_may_read(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert mode(path) == 0o666 & ~umask


def test_everything_that_is_written_in_one_piece_can_be_shared(umask: int, tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {})
    draw(Findings(parse({"format": 1, "name": "little", "base": {}, "runs": []})), tmp_path)
    write_task(DOMAINS["gsm8k"], [{"question": "1 + 1?", "answer": "#### 2"}], tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 11
    assert {mode(path) for path in files} == {0o666 & ~umask}


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError) as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", ["none", "file"])
def test_a_place_that_is_no_folder_is_named_by_the_file_that_was_wanted(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / folder / "value", b"")
    assert caught.value.filename == str(tmp_path / folder / "value")
