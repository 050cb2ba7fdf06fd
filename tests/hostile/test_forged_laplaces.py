"""Laplace files from a stranger, every checksum right: refused in one line, or a curvature after all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

import lalora
from hostile import forged
from hostile.sandbox import Sandbox
from lalora import Laplace
from tiny import batches, llama, rows

SHORT, LONG = 150, 6000
BATCH = 50

# Each of these broke a version of lalora.
BROKEN_ONCE = [19, 82]


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    forged.make_originals(folder)
    return folder


@pytest.mark.filterwarnings("ignore:this forecast is not calibrated")
@pytest.mark.parametrize("name", forged.NAMES)
def test_what_was_not_forged_is_accepted(originals: Path, name: str) -> None:
    assert forged.judged(originals / name, name) == "accepted"


def judged(sandbox: Sandbox, originals: Path, seeds: list[int], scratch: Path) -> list[dict[str, Any]]:
    """Judges several in one process; one by one where one of them brings the process down."""
    outcome = sandbox.call("hostile.forged:judge", str(originals), seeds, str(scratch), timeout=10 + 2 * len(seeds))
    if not outcome.broken:
        assert outcome.grown < 400_000_000, f"{outcome.grown} bytes in {seeds}"
        return list(outcome.value)
    if len(seeds) == 1:
        return [{"seed": seeds[0], "name": "", "done": "", "end": outcome.err[-1500:] or "hung", "seconds": 0}]
    return [found for seed in seeds for found in judged(sandbox, originals, [seed], scratch)]


def require_none_broken(sandbox: Sandbox, originals: Path, seeds: list[int], scratch: Path) -> None:
    found = []
    for start in range(0, len(seeds), BATCH):
        found += judged(sandbox, originals, seeds[start : start + BATCH], scratch)
    counts = Counter((case["name"], case["end"]) for case in found if case["end"] in ("accepted", "refused"))
    print({f"{name} {end}": count for (name, end), count in sorted(counts.items())})
    broken = [case for case in found if case["end"] not in ("accepted", "refused")]
    slow = [case for case in found if case["seconds"] > 10]
    assert not broken, f"{len(broken)} of {len(found)}: " + "\n".join(map(str, broken[:5]))
    assert not slow
    assert sum(counts.values()) == len(seeds)


def test_a_forged_file_is_refused_in_one_line_or_is_a_curvature(
    sandbox: Sandbox, originals: Path, tmp_path: Path
) -> None:
    require_none_broken(sandbox, originals, [*BROKEN_ONCE, *range(SHORT)], tmp_path)


@pytest.mark.parametrize("curvature", ["diagonal", "weight-kfac"])
def test_loading_takes_no_more_memory_than_twice_the_file(curvature: str, sandbox: Sandbox, tmp_path: Path) -> None:
    base = llama(hidden_size=512, intermediate_size=1024, num_hidden_layers=4)
    model = get_peft_model(base, LoraConfig(r=256, target_modules="all-linear"))
    lalora.fit(model, batches(rows(32, longest=32), 8), curvature=curvature, progress=False).save(tmp_path / "laplace")
    size = sum(path.stat().st_size for path in (tmp_path / "laplace").iterdir())
    assert size > 20 * 2**20
    outcome = sandbox.call("hostile.test_forged_laplaces:load", str(tmp_path / "laplace"))
    assert outcome.code == 0, outcome.err
    assert outcome.grown < 2 * size, f"{outcome.grown / size:.2f} times the {size >> 20} MiB of the file"


def load(folder: str) -> None:
    Laplace.load(folder)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thousands_of_forged_files(sandbox: Sandbox, originals: Path, tmp_path: Path) -> None:
    require_none_broken(sandbox, originals, list(range(SHORT, LONG)), tmp_path)
