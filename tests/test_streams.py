"""Streams of any encoding take what is said, and nothing of it is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hostile.sandbox import Sandbox

COMMANDS = [
    ("methods",),
    ("run", "--list"),
    ("fit", "--help"),
    ("assets", "list"),
    ("run", "nö-λ"),
    ("run", "--schema"),
]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_encoding(command: tuple[str, ...], encoding: str, sandbox: Sandbox) -> None:
    outcome = sandbox.lalora(*command, environment={"PYTHONIOENCODING": encoding})
    assert not outcome.broken
    assert outcome.code == (2 if command[-1] == "nö-λ" else 0)


def test_symbols_are_spelled_out(sandbox: Sandbox) -> None:
    outcome = sandbox.lalora("methods", environment={"PYTHONIOENCODING": "ascii"})
    assert outcome.out.isascii()
    assert "strength" in outcome.out
    said = sandbox.lalora("run", "λ‖é", environment={"PYTHONIOENCODING": "ascii"}).err
    assert "error: no recipe 'lambda||\\xe9'" in said


def test_where_the_system_says_ascii() -> None:
    # An error that needs nothing imported, which would take seconds.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
    path = os.environ.get("PYTHONPATH", "")
    ended = subprocess.run(
        [sys.executable, "-m", "lalora", "run", "x"], capture_output=True, check=False,
        env={
            **environment, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": path,
            "WORLD_SIZE": "λ‖",
        },
    )  # fmt: skip
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert b"error: " in ended.stderr
    assert ended.stderr.isascii()


# Help imports no library; with stdout closed or cut short, one that speaks when it is imported would be heard.
@pytest.mark.parametrize(
    ("asked", "closed"),
    [("--list", ">&-"), ("--help", "2>&-"), ("--help", ">&- 2>&-"), ("--list", "| head -c 1 >/dev/null")],
)
def test_closed_streams(asked: str, closed: str) -> None:
    command = f"set -o pipefail; {sys.executable} -m lalora run {asked} {closed}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert b"Traceback" not in ended.stderr


INTERRUPTED = """
import time
from lalora.cli.interrupt import resumable
try:
    with resumable("what was finished is kept"):
        print("working", flush=True)
        time.sleep(60)
finally:
    print("tidying up", flush=True)
    time.sleep(60)
"""


def test_a_second_interrupt_ends_at_once() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for said in ("working", "tidying up"):
        assert process.stdout.readline().strip() == said
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err.strip() == "interrupted: what was finished is kept"
