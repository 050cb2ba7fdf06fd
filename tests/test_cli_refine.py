"""`lalora soften --refine-steps`: steps before softening, and what they do not go with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def adapter(run: Run, mine: dict[str, Any]) -> tuple[object, ...]:
    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    common = ("--target", target, "--dtype", "float32", "--scored-rows", 3)
    train = ("train", mine["model"], *common, "--steps", 3, "--rank", 2, "--learning-rate", 0.05)
    assert run(*train)[0] == 0
    return ("soften", mine["model"], "adapter", *common, "--source", mine["source"], "--rows", 3)


def test_the_front_begins_nearer_to_the_base_and_says_so(run: Run, adapter: tuple[object, ...], tmp_path: Path) -> None:
    least = {}
    for steps in (0, 6):
        status, out, _ = run(*adapter, "--refine-steps", steps, "--out", f"softened-{steps}", "--strength", 0)
        assert status == 0
        assert ("It was refined in 6 steps without labels before it was softened." in " ".join(out.split())) == (
            steps > 0
        )
        front = json.loads((tmp_path / f"softened-{steps}" / "front.json").read_text())
        assert front["rows"]["refine_steps"] == steps
        chosen = [row for row in front["versions"] if row["kind"] == "softened" and row["strength"] == 0]
        least[steps] = chosen[0]["source_kl"]
    assert least[6] != least[0]


def test_a_laplace_has_no_rows_to_refine_on(refused: Callable[..., str], adapter: tuple[object, ...]) -> None:
    assert "give them with --refine-steps" in refused(*adapter, "--refine-rate", 1e-3)
    said = refused(*adapter, "--refine-steps", 2, "--laplace", "laplace")
    assert "--refine-steps read source rows, which a Laplace does not have: leave --laplace out" in said
