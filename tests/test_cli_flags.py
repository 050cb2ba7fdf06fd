"""The words of the command line, in a file of their own: none goes, or changes its name, by mistake.

After a change that is meant: python tests/test_cli_flags.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from lalora.cli.app import app
from lalora.cli.fit import fit_command

PINNED = Path(__file__).parent / "cli_flags.txt"


def words(command: Any, name: str) -> Iterator[str]:
    """List commands, arguments and flags as typer knows them."""
    yield name
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield f"{name} {parameter.name.upper()}{'' if parameter.required else ' (may be left out)'}"
        else:
            yield from (f"{name} {flag}" for flag in (*parameter.opts, *parameter.secondary_opts))
    for one, inner in sorted(getattr(command, "commands", {}).items()):
        # Its options come from the library, when it is called.
        yield from words(fit_command() if (name, one) == ("lalora", "fit") else inner, f"{name} {one}")


def found() -> list[str]:
    return list(words(typer.main.get_command(app), "lalora"))


def test_every_word_of_the_command_line_is_pinned() -> None:
    pinned, here = PINNED.read_text(encoding="utf-8").splitlines(), found()
    gone, new = sorted(set(pinned) - set(here)), sorted(set(here) - set(pinned))
    assert (gone, new) == ([], []), f"if that is meant: python {Path(__file__).name}"
    assert here == pinned


if __name__ == "__main__":
    PINNED.write_text("".join(f"{line}\n" for line in found()), encoding="utf-8")
