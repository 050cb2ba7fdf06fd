"""Bars of one style; a variable that the user set stays as it was."""

from __future__ import annotations

import os

import pytest

from lalora.progress import progress_bar, without_bars


@pytest.mark.parametrize("before", [None, "", "1", "x"])
def test_the_variable_is_put_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if before is not None:
        monkeypatch.setenv("TQDM_DISABLE", before)
    with pytest.raises(KeyError), without_bars():
        assert os.environ["TQDM_DISABLE"] == "1"
        raise KeyError
    assert os.environ.get("TQDM_DISABLE") == before


def test_a_bar_counts_and_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar("reading", "file", [1, 2])) == [1, 2]
    said = capsys.readouterr().err
    assert "reading: " in said
    assert not said.endswith("\n")
