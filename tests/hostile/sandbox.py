"""Runs calls and command lines in processes of their own, fast: for inputs that may hang, crash or eat memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile.started import Started

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
        self._folder = tempfile.TemporaryDirectory()
        path = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self._environment = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path)}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "hostile.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
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
        self._folder.cleanup()

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

    def start(
        self,
        *argv: object,
        environment: dict[str, str] | None = None,
        said: Path | None = None,
        file_limit: int | None = None,
    ) -> Started:
        """Start a script (`….py`) or a module with arguments, which goes on by itself.

        Both streams go into `said` if it is given. No file may grow beyond `file_limit` bytes.
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        status, out, err = folder / "status", said or folder / "out", said or folder / "err"
        request = {
            "argv": [str(word) for word in argv], "environment": environment or {}, "file_limit": file_limit,
            "status": str(status), "out": str(out), "err": str(err),
        }  # fmt: skip
        return Started(self._asked(request)["pid"], status, out, err)

    def launch(self, processes: int, *argv: object, anew: bool = False) -> list[Started] | list[subprocess.Popen[str]]:
        """Start a script several times, as a launcher does.

        A process that begins `anew` imports everything itself: what is decided before torch is imported can be seen.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes), "ACCELERATE_USE_CPU": "true",
        }  # fmt: skip
        ranks = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        if not anew:
            return [self.start(*argv, environment=rank) for rank in ranks]
        return [
            subprocess.Popen(
                [sys.executable, *map(str, argv)], env={**self._environment, **rank}, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )
            for rank in ranks
        ]  # fmt: skip

    def _ask(self, request: dict[str, Any], timeout: float, cwd: Path | None, environment: dict[str, str]) -> Outcome:
        whole = {**request, "timeout": timeout, "cwd": str(cwd) if cwd else None, "environment": environment}
        return Outcome(**self._asked(whole))

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer
