"""Whatever is raised, a command ends in one line and never in a bare traceback."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora.cli.main import main
from lalora.errors import LaloraError, fault

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["lalora", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().err

    return command


COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "run": (("run", "smoke"), "lalora.study.run_study"),
    "run --dry-run": (("run", "smoke", "--dry-run"), "lalora.cli.dry_run.rehearse"),
    "run --schema": (("run", "--schema"), "lalora.study.recipe_schema"),
    "fit": (("fit", "model"), "lalora.study.single.fit.fit_laplace"),
    "train": (("train", "model"), "lalora.study.single.train.train_adapter"),
    "evaluate": (("evaluate", "model", "adapter"), "lalora.study.single.evaluate.evaluate_adapter"),
    "soften": (("soften", "model", "adapter"), "lalora.study.single.soften.soften_adapter"),
    "report": (("report", "folder"), "lalora.results.load_results"),
    "methods": (("methods",), "lalora.methods.costs.costs"),
    "assets list": (("assets", "list"), "lalora.assets.statuses"),
    "assets fetch": (("assets", "fetch", "x"), "lalora.assets.fetch"),
    "assets verify": (("assets", "verify", "x"), "lalora.assets.verify"),
}
ERRORS: dict[str, tuple[Exception, int]] = {
    "RuntimeError": (RuntimeError("first line\nsecond line"), 70),
    "KeyError": (KeyError("x"), 70),
    "RecursionError": (RecursionError("maximum recursion depth exceeded"), 70),
    "an assertion": (AssertionError(), 70),
    "UnicodeEncodeError": (UnicodeEncodeError("ascii", "λ", 0, 1, "ordinal not in range"), 70),
    "no such file": (FileNotFoundError(errno.ENOENT, "No such file or directory", "some/file"), 2),
    "a folder": (IsADirectoryError(errno.EISDIR, "Is a directory", "some/file"), 2),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "some/file"), 2),
    "a socket": (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), 70),
    "no memory": (MemoryError(), 2),
    "bad input": (LaloraError("say it otherwise"), 2),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ERRORS)
def test_no_command_ends_in_a_bare_traceback(
    command: str, kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, place = COMMANDS[command]
    error, status = ERRORS[kind]

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(place, broken)
    ended, said = run(*arguments)
    last = said.strip().splitlines()[-1]
    assert ended == status
    assert "Traceback" not in said
    assert last.startswith("error: ")
    assert ("this looks like a fault of lalora: --traceback shows it" in last) == (status == 70)
    assert type(error).__name__ in last or status == 2


@pytest.mark.parametrize("place", [("--traceback", "methods"), ("methods", "--traceback")], ids=["before", "after"])
def test_the_traceback_is_shown_to_whoever_asks(
    place: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("some key")

    monkeypatch.setattr("lalora.methods.costs.costs", broken)
    status, said = run(*place)
    assert status == 70
    assert "Traceback (most recent call last)" in said
    assert said.strip().splitlines()[-1].startswith("error: KeyError: 'some key', at lalora/cli/methods.py:")


def test_the_place_is_the_innermost_one_of_lalora() -> None:
    from lalora.text.tokens import collate

    try:
        collate([], 0)
    except ValueError as error:
        assert "ValueError: " in fault(error)
        assert ", at lalora/text/tokens.py:" in fault(error)


def test_a_library_that_cannot_be_imported_is_no_fault_of_lalora(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken_library.py"
    broken.write_text("LIMIT = float('x')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def importing(*_: object) -> None:
        importlib.import_module("broken_library")

    monkeypatch.setattr("lalora.results.load_results", importing)
    code, said = run("report", "folder")
    assert code == 2
    assert f"ValueError in {broken}: could not convert" in said
