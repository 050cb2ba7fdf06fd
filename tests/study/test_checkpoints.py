"""Only a checkpoint that was written to its end is gone on from."""

from __future__ import annotations

import json
from pathlib import Path

from lalora.study.store.checkpoints import drop_others, newest_complete


def write(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def whole(step: int) -> str:
    return json.dumps({"global_step": step})


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert newest_complete(tmp_path / "none") is None


def test_the_newest_by_step_wins(tmp_path: Path) -> None:
    for step in (10, 9, 100, 20):
        write(tmp_path, step, whole(step))
    assert newest_complete(tmp_path) == (100, tmp_path / "checkpoint-100")


def test_half_written_ones_are_passed_over(tmp_path: Path) -> None:
    kept = write(tmp_path, 5, whole(5))
    write(tmp_path, 6, None)
    write(tmp_path, 7, "")
    write(tmp_path, 8, whole(8)[:-1])
    write(tmp_path, 9, whole(8))
    (tmp_path / "checkpoint-last").mkdir()
    assert newest_complete(tmp_path) == (5, kept)


def test_the_others_are_dropped(tmp_path: Path) -> None:
    kept = write(tmp_path, 5, whole(5))
    write(tmp_path, 6, None)
    write(tmp_path, 4, whole(4))
    drop_others(tmp_path, kept)
    assert list(tmp_path.iterdir()) == [kept]
