"""Files handed on through a URL arrive whole, in an order in which a half of them does no harm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lalora import LaloraError
from lalora.study.runners.shared_storage import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(f"file://{tmp_path}/there")


def write(path: Path, text: str, moment: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (moment, moment))


def test_what_was_sent_is_fetched_elsewhere(place: Place, tmp_path: Path) -> None:
    write(tmp_path / "run" / "metrics.jsonl", "{}", 1)
    write(tmp_path / "run" / "checkpoints" / "checkpoint-3" / "model", "weights", 2)
    write(tmp_path / "run" / ".lock", "", 3)
    place.send(tmp_path / "run", "lora")
    place.fetch("lora", tmp_path / "other")
    assert (tmp_path / "other" / "checkpoints" / "checkpoint-3" / "model").read_text() == "weights"
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["checkpoints", "metrics.jsonl"]
    place.drop("lora/checkpoints")
    assert [path.name for path in (tmp_path / "there" / "lora").iterdir()] == ["metrics.jsonl"]


def test_what_says_that_others_are_complete_comes_last(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    files: Any = fsspec.filesystem("file")
    monkeypatch.setattr(type(files), "put_file", lambda self, here, there, **_: sent.append(Path(there).name))
    # The metrics were written to after the checkpoint began.
    write(tmp_path / "run" / "checkpoints" / "checkpoint-3" / "trainer_state.json", "{}", 7)
    write(tmp_path / "run" / "checkpoints" / "checkpoint-3" / "optimizer.pt", "", 6)
    write(tmp_path / "run" / "metrics.jsonl", "{}", 8)
    place.send(tmp_path / "run", "lora")
    assert sent == ["metrics.jsonl", "optimizer.pt", "trainer_state.json"]


def test_nothing_there_is_nothing_fetched_or_dropped(place: Place, tmp_path: Path) -> None:
    place.fetch("lora", tmp_path / "other")
    place.drop("lora")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("url", ["gopher://x/y", "file:///proc/nowhere"])
def test_a_place_where_nothing_can_be_put_is_refused(url: str) -> None:
    with pytest.raises(LaloraError, match=rf"--share {url}: nothing can be put there \(.*\)"):
        Place(url).check()


def test_a_place_where_something_can_be_put_is_accepted(place: Place, tmp_path: Path) -> None:
    place.check()
    assert (tmp_path / "there").is_dir()
