"""Recipes from strangers: one line, soon, and in little memory."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from hostile.recipes import BROKE, GOOD
from hostile.sandbox import Sandbox

_MEMORY = 300 * 2**20


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "study.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


@pytest.mark.parametrize("case", BROKE)
def test_what_broke_once_is_refused_in_one_line(case: str, sandbox: Sandbox, tmp_path: Path) -> None:
    content, message = BROKE[case]
    outcome = sandbox.lalora("run", written(tmp_path, content), "--dry-run", cwd=tmp_path)
    assert outcome.refused_in_one_line, outcome
    assert message in outcome.err
    assert outcome.grown < _MEMORY
    assert outcome.seconds < 10


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "itself", "a chain"])
def test_extending_what_is_no_recipe(kind: str, sandbox: Sandbox, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    if kind == "fifo":
        os.mkfifo(other)
    elif kind == "folder":
        other.mkdir()
    elif kind == "device":
        other.symlink_to("/dev/zero")
    elif kind == "itself":
        other.write_text("extends: other.yaml\n" + GOOD)
    else:
        for number in range(20):
            (tmp_path / f"r{number}.yaml").write_text(f"extends: r{number + 1}.yaml\n" + GOOD)
        other.write_text("extends: r0.yaml\n" + GOOD)
    outcome = sandbox.lalora("run", written(tmp_path, f"extends: {other}\n" + GOOD), "--dry-run", cwd=tmp_path)
    assert outcome.refused_in_one_line, outcome


SETTINGS = {
    "a control character": ('description="a\x1bb"', "special characters are not allowed"),
    "aliases": ("seeds=[&a [*a]]", "nested too deep"),
    "digits": ("steps=" + "9" * 6000, "not valid YAML"),
    "rank": ("rank=1000000000000", "it can be 65536 at most"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_of_the_command_line_are_bounded_alike(case: str, sandbox: Sandbox, tmp_path: Path) -> None:
    setting, message = SETTINGS[case]
    outcome = sandbox.lalora("run", written(tmp_path, GOOD), "--set", setting, "--dry-run", cwd=tmp_path)
    assert outcome.refused_in_one_line, outcome
    assert message in outcome.err


TOKENS = [
    "[", "]", "{", "}", ":", "- ", "&a ", "*a", "!!set ", "!!python/name:os.system ", "? ", "|\n", ">\n", "'", '"', "#",
    "%YAML 1.1\n", "---\n", "...\n", "\t", "\x00", "\ufeff", "\u2028", "é", "9" * 400, "-1", "1e999", ".nan", "0x",
    "0o7", "1:2:3", "null", "true", "2001-01-01",
    "<<: ", "grid:", "base:", "seeds:", "extends: x", "~", "=", "\\", "\n", "  ",
]  # fmt: skip


def mutated(source: random.Random) -> bytes:
    text = GOOD
    for _ in range(source.randint(1, 6)):
        where = source.randrange(len(text) + 1)
        length = source.choice([0, 0, 1, 3, 20])
        text = text[:where] + source.choice(TOKENS) + text[where + length :]
    content = text.encode("utf-8", "surrogatepass")
    if source.random() < 0.2:
        place = source.randrange(len(content))
        content = content[:place] + bytes([source.randrange(256)]) + content[place + 1 :]
    return content


def fuzz(count: int, seed: int, sandbox: Sandbox, folder: Path) -> dict[int, int]:
    source, codes = random.Random(seed), dict[int, int]()
    for number in range(count):
        content = mutated(source)
        outcome = sandbox.call("hostile.test_recipes:load", str(written(folder, content)))
        told = f"number {number} of seed {seed}: {content!r}\n{outcome.err}"
        assert not outcome.broken, told
        assert outcome.grown < _MEMORY, told
        codes[bool(outcome.value)] = codes.get(bool(outcome.value), 0) + 1
    return codes


def load(path: str) -> str:
    """What is said of a recipe; nothing where it is sound."""
    from lalora.cli.main import _line_and_status
    from lalora.errors import LaloraError
    from lalora.study import load_recipe

    try:
        load_recipe(path)
    except (LaloraError, OSError) as error:
        message, status = _line_and_status(error)
        assert status == 2
        return message
    return ""


def test_mutations_end_in_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    assert fuzz(150, 1, sandbox, tmp_path)[True] > 100


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_mutations_end_in_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    codes = fuzz(1500, 2, sandbox, tmp_path)
    print(f"\n{codes[True]} mutated recipes refused, {codes.get(False, 0)} sound")
    assert codes[True] > 1000
