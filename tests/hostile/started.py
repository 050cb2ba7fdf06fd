"""A command that goes on in a process of its own, forked from one that has imported everything."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

_POLLED_S = 0.02


class Started:
    """Looked after as a `subprocess.Popen`; the leader of a process group and a session of its own.

    Attributes:
        pid: Of the process.
        returncode: Its exit status, negative for a signal; None until it was asked for after the end.
    """

    def __init__(self, pid: int, status: Path, out: Path, err: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status, self._out, self._err = status, out, err

    def poll(self) -> int | None:
        """Returns the exit status, None as long as it runs."""
        if self.returncode is None and self._status.exists():
            self.returncode = int(self._status.read_text())
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Waits for its end; returns the exit status."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout, self._read(self._out), self._read(self._err))
            time.sleep(_POLLED_S)
        return code

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Waits for its end; returns what it wrote to stdout and stderr."""
        self.wait(timeout)
        return self._read(self._out), self._read(self._err)

    def until_it_says(self, text: str, timeout: float = 120) -> None:
        """Waits until it has written this to stdout."""
        deadline = time.monotonic() + timeout
        while text not in self._read(self._out):
            assert self.poll() is None, self.communicate()
            assert time.monotonic() < deadline
            time.sleep(_POLLED_S)

    def send_signal(self, number: int) -> None:
        """Sends it a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it unless it has ended."""
        self.send_signal(signal.SIGKILL)

    @staticmethod
    def _read(path: Path) -> str:
        return path.read_text(encoding="utf-8", errors="replace")
