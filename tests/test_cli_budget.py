"""`lalora train --budget`: an adapter within it, the trained one beside it, and what does not go together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


def command(mine: dict[str, Any], *more: object) -> tuple[object, ...]:
    return (
        "train", mine["model"], "--target", f"gsm8k={mine['data'] / 'gsm8k.jsonl'}", "--steps", 3, "--rank", 2,
        "--learning-rate", 0.01, "--dtype", "float32", "--scored-rows", 3, "--source-rows", 3, *more,
    )  # fmt: skip


def test_the_adapter_ends_within_the_budget_beside_the_trained_one(
    run: Run, mine: dict[str, Any], tmp_path: Path
) -> None:
    status, out, _ = run(*command(mine, "--budget", 1e-6, "--source", mine["source"]))
    assert status == 0
    assert "nats per token on other rows of the sources; details: adapter/metrics.jsonl" in out
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    (kept,) = [row for row in rows if row["kind"] == "budget"]
    assert 0 < kept["drift"] <= 1e-6 < kept["trained_drift"]
    trained, final = ([row for row in rows if row["kind"] == kind][-1]["source_kl"] for kind in ("trained", "eval"))
    assert final < trained
    softened, before = (
        (tmp_path / "adapter" / part / "adapter_model.safetensors").read_bytes() for part in ("", "trained")
    )
    assert len(softened) == len(before)
    assert softened != before


REFUSED = {
    "no budget": (("--source", "winogrande"), "--source names what a budget keeps: give one with --budget"),
    "a way without a budget": (("--budget-by", "both"), "--budget-by tells how a budget is kept: give one"),
    "no penalty": (
        ("--budget", 0.1, "--budget-by", "control", "--source", None),
        "--budget-by control: control is of a penalty's strength; give one with --laplace",
    ),
    "another way": (
        ("--budget", 0.1, "--budget-by", "luck", "--laplace", "no", "--source", None),
        "'budget_by' is 'luck'",
    ),
    "zero": (("--budget", 0, "--source", None), "'budget' is 0"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_go_together(
    options: tuple[object, ...], message: str, refused: Callable[..., str], mine: dict[str, Any]
) -> None:
    given = [mine["source"] if option is None else option for option in options]
    assert message in refused(*command(mine, *given))
