"""What only shows help must not wait for torch."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "pandas", "matplotlib", "scipy")
MOST_CPU_S = 1.2
STARTED = f"""
import sys
from lalora.cli.main import main

sys.argv = ["lalora", *sys.argv[1:]]
try:
    main()
finally:
    print("heavy:", *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("run", "--help"), ("train", "--strenth", "1")])
def test_help_and_mistakes_import_nothing_heavy(words: tuple[str, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-c", STARTED, *words], check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.stderr.splitlines()[-1] == "heavy:"
    assert ended.returncode == (2 if "--strenth" in words else 0)
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < MOST_CPU_S
