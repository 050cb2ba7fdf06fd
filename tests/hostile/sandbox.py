"""Runs calls and command lines in processes of their own, fast: for inputs that may hang, crash or eat memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: Exit status; 1 after a traceback, negative for a signal.
        timed_out: Whether it was killed for taking too long.
        seconds: That it took.
        out: What it wrote to stdout.
        err: What it wrote to stderr, a traceback among it.
        value: What a called function returned, if JSON holds it.
        grown: Bytes by which its resident memory grew at most.
    """

    code: int
    timed_out: bool
    seconds: float
    out: str
    err: str
    value: Any
    grown: int

    @property
    def refused_in_one_line(self) -> bool:
        """Whether it ended as bad input must: status 2 and one line that begins with `error:`, whatever came before."""
        last = self.err.strip().splitlines()[-1:]
        return self.code == 2 and not self.broken and bool(last) and last[0].startswith("error: ")

    @property
    def broken(self) -> bool:
        """Whether it hung, crashed or ended in a traceback."""
        return self.timed_out or self.code < 0 or "Traceback (most recent call last)" in self.err


class Sandbox:
    """A server that forks a child a call; use it as a context."""

    def __init__(self) -> None:
        path = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "hostile.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path)},
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._server.stdin, self._server.stdout):
            assert stream is not None
            stream.close()
        self._server.wait()

    def lalora(
        self, *argv: object, timeout: float = 10, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> Outcome:
        """Run the `lalora` command."""
        return self._ask(
            {"call": "lalora.cli.main:main", "argv": ["lalora", *map(str, argv)]}, timeout, cwd, environment or {}
        )

    def call(self, function: str, *arguments: object, timeout: float = 10) -> Outcome:
        """Call `module:function`, which the tests or lalora define, with arguments that JSON holds."""
        return self._ask({"call": function, "arguments": arguments}, timeout, None, {})

    def _ask(self, request: dict[str, Any], timeout: float, cwd: Path | None, environment: dict[str, str]) -> Outcome:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        whole = {**request, "timeout": timeout, "cwd": str(cwd) if cwd else None, "environment": environment}
        print(json.dumps(whole), file=self._server.stdin, flush=True)
        return Outcome(**json.loads(self._server.stdout.readline()))
