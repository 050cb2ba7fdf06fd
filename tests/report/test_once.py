"""A report reads what was found once, and needs nothing that found it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from drawn_once import no_files_of_pictures
from lalora.cli.report import report
from lalora.report import findings, rows
from lalora.results import load


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of a few functions was called."""
    found: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            found[name] += 1
            return function(*arguments, **named)

        monkeypatch.setattr(module, name, counted)

    count(load, "parse")
    for name in ("by_label", "looks", "families", "rows", "fronts", "measures", "best"):
        count(findings, name)
    count(rows, "plain_partner")
    return found


def kept(folder: Path, results: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_a_drawing_parses_and_works_out_everything_once(
    seeded: dict[str, Any], tmp_path: Path, calls: Counter[str]
) -> None:
    report([kept(tmp_path / "study", seeded)])
    runs = seeded["runs"]
    rows_measured = sum(len(run["curve"]) + len(run["scaled"] + run["softened"] + run["after"]) for run in runs)
    assert calls == {
        "parse": 1, "by_label": 1, "looks": 1, "families": 1, "rows": 1, "best": 1, "fronts": 8,
        "measures": 1 + rows_measured, "plain_partner": len(runs),
    }  # fmt: skip


def test_studies_that_are_merged_are_parsed_once_each(
    results: dict[str, Any], tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # labels name the folders as they were given
    with no_files_of_pictures():
        report([kept(Path(name), deepcopy(results)) for name in ("a", "b", "c")], Path("together"))
    assert calls["parse"] == 3
    assert calls["by_label"] == calls["rows"] == 1


def test_the_command_imports_no_torch(results: dict[str, Any], tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from lalora.cli.report import report\n"
        "report([Path(sys.argv[1])])\n"
        "print(sorted({'torch', 'transformers', 'peft', 'datasets', 'lm_eval', 'scipy'} & set(sys.modules)))"
    )
    folder = kept(tmp_path / "study", results)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert (folder / "report.html").exists()
