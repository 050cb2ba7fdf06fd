"""Whichever step towards the disk fails in a study or a report: what is found is the old or the new, whole."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from failing import nth_fails
from lalora.errors import LaloraError
from lalora.report import Findings, draw, drawing
from lalora.results import parse
from lalora.study import load_recipe, run_study
from tiny_study import outcome

GRID = [{"method": "lora"}, {"method": "lalora"}]


def require_whole(folder: Path, whole: dict[str, bytes]) -> None:
    """Each file that says it is finished is: what can be read is what an undisturbed study has."""
    found = outcome(folder)
    for done in folder.glob("*/done.json"):
        run = done.parent.name
        assert {name: found.get(name) for name in whole if name.startswith(f"{run}/")} == {
            name: content for name, content in whole.items() if name.startswith(f"{run}/")
        }
    for name, content in found.items():
        if name in whole and not name.endswith("metrics.jsonl"):
            assert content == whole[name], name
    results = folder / "results.json"
    if results.exists():
        written = json.loads(results.read_text())
        assert {run["name"] for run in written["runs"]} <= {done.parent.name for done in folder.glob("*/done.json")}


def study(recipe: str, folder: Path) -> dict[str, bytes]:
    """Does a study to the end; returns the files of its report."""
    findings = Findings(parse(run_study(load_recipe(recipe), folder, "lalora run tiny", lambda _: None)))
    files = drawing.drawn(findings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "drawn", lambda _: files)
        draw(findings, folder)
    return files


def every(recipe: str, numbers: Iterable[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What failed at each of these steps; the last of them may lie beyond the end."""
    undisturbed = tmp_path / "undisturbed"
    report = study(recipe, undisturbed)
    monkeypatch.setattr(drawing, "drawn", lambda _: report)
    whole, failed = outcome(undisturbed), []
    for number in numbers:
        folder = tmp_path / f"study-{number}"
        with nth_fails(folder, number) as failing:
            try:
                study(recipe, folder)
            except LaloraError as error:
                assert "\n" not in str(error)
                assert "No space left" in str(error) or "half" in str(error), failing.failed
            except OSError as error:
                assert "No space left" in str(error), failing.failed
        if not failing.failed:
            return failed
        failed.append(failing.failed.replace(str(folder), ""))
        require_whole(folder, whole)
        study(recipe, folder)
        assert outcome(folder) == whole, failing.failed
        assert not list(folder.rglob("*.lalora-part"))
        shutil.rmtree(folder)
    return failed


@pytest.mark.usefixtures("one_thread")
def test_some_steps_of_a_study_fail(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = every(recipe_file(grid=GRID, steps=2, evaluate_at=[]), range(3, 300, 29), tmp_path, monkeypatch)
    assert len(failed) > 3


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("one_thread")
def test_any_step_of_a_study_fails(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = every(recipe_file(grid=GRID, steps=2, evaluate_at=[]), itertools.count(), tmp_path, monkeypatch)
    print(f"\n{len(failed)} steps: {dict(Counter(what.split()[0] for what in failed))}")
    assert len(failed) > 100


def test_any_step_of_a_report_fails(
    finished_study: tuple[Path, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = Findings(parse(finished_study[1]))
    drawn = drawing.drawn(findings)
    monkeypatch.setattr(drawing, "drawn", lambda _: drawn)
    for number in itertools.count():
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "report.html").write_text("old")
        with nth_fails(folder, number) as failing, contextlib.suppress(LaloraError):
            draw(findings, folder)
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == drawn, failing.failed
        for path in folder.iterdir():
            assert path.read_bytes() in (drawn[path.name], b"old"), failing.failed
        if not failing.failed:
            break
    assert number > 4 * len(drawn)
