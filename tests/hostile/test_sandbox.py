from __future__ import annotations

import os
import signal
from pathlib import Path

from hostile.sandbox import Sandbox


def test_a_call_that_hangs_is_ended(sandbox: Sandbox) -> None:
    outcome = sandbox.call("time:sleep", 60, timeout=0.3)
    assert outcome.timed_out
    assert outcome.broken


def test_a_traceback_is_seen(sandbox: Sandbox) -> None:
    outcome = sandbox.call("json:loads", "{")
    assert outcome.broken
    assert "JSONDecodeError" in outcome.err


def test_a_value_comes_back(sandbox: Sandbox) -> None:
    assert sandbox.call("json:loads", "[1, 2]").value == [1, 2]


def test_memory_is_counted(sandbox: Sandbox) -> None:
    assert sandbox.call("hostile.test_sandbox:take_bytes", 100_000_000).grown > 90_000_000


def take_bytes(count: int) -> int:
    return len(b"x" * count)


def test_the_command_line_refuses_in_one_line(sandbox: Sandbox) -> None:
    assert sandbox.lalora("run", "no-such-recipe").refused_in_one_line


def test_a_started_command_is_like_any_process(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import atexit, sys, time\n"
        "atexit.register(print, 'at the end')\n"
        "print(sys.argv[1:], __name__)\n"
        "print('é', file=sys.stderr, flush=True)\n"
        "time.sleep(60 if sys.argv[1] == 'wait' else 0)\n"
        "sys.exit(sys.argv[1])\n"
    )
    ended = sandbox.start(tmp_path / "script.py", "no")
    assert ended.communicate() == ("['no'] __main__\nat the end\n", "é\nno\n")
    assert ended.wait() == 1
    waiting = sandbox.start(tmp_path / "script.py", "wait", said=tmp_path / "said")
    assert waiting.poll() is None
    os.killpg(waiting.pid, signal.SIGKILL)
    assert waiting.wait(10) == -signal.SIGKILL
