"""Whichever step towards the disk fails while a Laplace is saved: what is found is the old or the new, whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import lalora
from failing import nth_fails
from lalora import LaloraError, Laplace
from tiny import batches, lora, rows


@pytest.mark.parametrize("again", [False, True])
def test_any_step_of_saving_fails(tmp_path: Path, again: bool) -> None:
    old = lalora.fit(lora(), batches(rows(4), 2), progress=False)
    new = lalora.fit(lora(), batches(rows(3, seed=8), 3), progress=False)
    kinds = set[str]()
    for number in itertools.count():
        folder = tmp_path / str(number)
        if again:
            old.save(folder)
        with nth_fails(folder, number) as failing:
            try:
                new.save(folder)
                saved = True
            except LaloraError as error:
                assert "No space left" in str(error)
                saved = False
        kinds |= set(failing.failed.split()[:1])
        if saved:
            assert Laplace.load(folder).provenance == new.provenance, failing.failed
        elif again:
            assert Laplace.load(folder).provenance in (old.provenance, new.provenance), failing.failed
        else:
            assert not (folder / "laplace.json").exists(), failing.failed
        if not failing.failed:
            break
    assert kinds >= {"open", "write", "fsync", "os.rename"}
