"""Every `lalora …` command line of README.md and docs/ is one that the command understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from documents.pages import PAGES, blocks
from lalora.cli.app import app


def command_lines(text: str) -> list[str]:
    """Lines that start lalora, joined where they go on, without comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^\s*(?:\$ )?(?:accelerate launch .*? -m |python -m )?lalora +(?!=)(.+)$", joined, re.MULTILINE)
    return [re.sub(r"\s+# .*|\s+#$", "", line).strip() for line in found]


def parse(words: list[str]) -> None:
    """Read a command line as `lalora` does, and do nothing."""
    command: Any = typer.main.get_command(app)
    context: Any = command.make_context("lalora", list(words))
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, list(words))
        try:
            context = command.make_context(name, list(words), parent=context)
        except typer.Exit as end:  # --help
            assert end.exit_code == 0
            return


LINES = [
    pytest.param(line, id=f"{page.name}:{block.line}:{line[:24]}")
    for page in PAGES
    for block in blocks(page)
    if block.language in ("", "bash", "sh", "shell", "console")
    for line in command_lines(block.code)
]


@pytest.mark.parametrize("line", LINES)
def test_the_command_understands_it(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parse(shlex.split(line))


def test_the_lines_are_found() -> None:
    assert len(LINES) >= 20
    assert command_lines("lalora run a \\\n  --list   # words\nlalora: yes\npython -m lalora fit B\n") == [
        "run a  --list",
        "fit B",
    ]


@pytest.mark.parametrize("line", ["soften MODEL ADAPTER --budgte 1", "softne MODEL", "fit", "fit M --rows many"])
def test_a_wrong_line_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"No such|Missing|Invalid value|not a valid|valid integer"):
        parse(shlex.split(line))
