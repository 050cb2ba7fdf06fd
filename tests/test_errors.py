"""Whatever an error says, or if it says nothing, it becomes one line."""

from __future__ import annotations

import pytest

from lalora.errors import fault, first_of, first_sentence, one_line


@pytest.mark.parametrize("message", ["", " ", "\n\n", "\t\r\n"])
def test_an_error_without_a_message_is_named_by_its_type(message: str) -> None:
    error = ValueError(message)
    assert one_line(error) == first_sentence(error) == "ValueError"
    assert fault(error).startswith("ValueError: ValueError; this looks like a fault")


def test_lines_and_control_characters_are_taken_out() -> None:
    assert one_line(ValueError("first\n  second \x1b[31m")) == "first second \N{REPLACEMENT CHARACTER}[31m"
    assert one_line(ValueError("x" * 30), 10) == "x" * 9 + "…"


def test_the_first_sentence_is_without_its_full_stop() -> None:
    assert first_sentence(ValueError("No module 'a.b' is\nthere. Use another.")) == "No module 'a.b' is there"


def test_others_are_counted() -> None:
    assert (first_of(["a"]), first_of(["a", "b", "c"])) == ("'a'", "'a' and 2 more")
