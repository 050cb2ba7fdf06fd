from __future__ import annotations

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
