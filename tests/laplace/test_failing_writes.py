"""Whichever write, sync or rename fails while a Laplace is saved: what is found is the old or the new, whole."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lalora
from lalora import LaloraError, Laplace
from tiny import batches, lora, rows


class Failing:
    """Lets all calls but one through."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.failed = False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self.failed = True
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("again", [False, True])
def test_the_nth_step_of_saving_fails(tmp_path: Path, again: bool) -> None:
    old = lalora.fit(lora(), batches(rows(4), 2), progress=False)
    new = lalora.fit(lora(), batches(rows(3, seed=8), 3), progress=False)
    for number in itertools.count():
        folder = tmp_path / str(number)
        if again:
            old.save(folder)
        failing = Failing(number)
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "open"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
                patch.setattr(owner, name, failing.around(getattr(owner, name)))
            try:
                new.save(folder)
                assert not failing.failed
            except LaloraError as error:
                assert "No space left" in str(error)
        if again or not failing.failed:
            assert Laplace.load(folder).provenance in (old.provenance, new.provenance)
        else:
            assert not (folder / "laplace.json").exists()
        if not failing.failed:
            assert Laplace.load(folder).provenance == new.provenance
            assert number > 4
            return
