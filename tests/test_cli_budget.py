"""What `lalora train` says was forgotten; with `--budget` an adapter within it; what does not go together."""

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
    assert "forgotten: KL(base ‖ model) 0.0000 nats per token (95 % 0.0000 to 0.0000) on 3 rows of winogrande (" in out
    learned, _, budget, adapter, use, following = out.splitlines()
    assert learned.startswith("learned: target loss ")
    assert adapter == "adapter: adapter (as it was trained: adapter/trained); details: adapter/metrics.jsonl"
    assert use == "in Python: PeftModel.from_pretrained(base, 'adapter')"
    assert following.endswith(f": lalora evaluate {mine['model']} adapter --source unseen=FILE")
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    (kept,) = [row for row in rows if row["kind"] == "budget"]
    assert 0 < kept["drift"] <= 1e-6 < kept["trained_drift"]
    assert f"from {kept['trained_drift']:.4f} to 0.0000 nats per token, of 1e-06 allowed" in budget
    trained, final = ([row for row in rows if row["kind"] == kind][-1]["source_kl"] for kind in ("trained", "eval"))
    assert final < trained
    softened, before = (
        (tmp_path / "adapter" / part / "adapter_model.safetensors").read_bytes() for part in ("", "trained")
    )
    assert len(softened) == len(before)
    assert softened != before


def test_what_was_forgotten_is_measured_on_a_given_source(run: Run, mine: dict[str, Any], tmp_path: Path) -> None:
    status, out, _ = run(*command(mine, "--source", mine["source"]))
    assert status == 0
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    first, last = (row for row in rows if row["kind"] == "eval")
    assert "source_drift" not in first
    drift, counts = last["source_drift"], last["measured"]["winogrande"]
    assert drift["mean"] == pytest.approx(last["source_kl"])
    assert 0 < drift["low"] < drift["mean"] < drift["high"]
    numbers = "{mean:.4f} nats per token (95 % {low:.4f} to {high:.4f})".format(**drift)
    told = f"forgotten: KL(base ‖ model) {numbers} on 3 rows of winogrande ({counts['tokens']} tokens)"
    assert out.splitlines()[1:3] == [told, "adapter: adapter; details: adapter/metrics.jsonl"]

    evaluate = ("evaluate", mine["model"], "adapter", "--source", mine["source"], "--rows", 3, "--dtype", "float32")
    assert run(*evaluate, "--out", "found.json")[0] == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["source_drift"] == pytest.approx(drift)
    assert found["measured"]["winogrande"] == counts
    assert run(*command(mine, "--source", mine["source"]))[1] == out  # finished before: said again, not measured again


def test_without_a_source_it_says_how_to_ask(run: Run, mine: dict[str, Any]) -> None:
    status, out, _ = run(*command(mine))
    assert status == 0
    assert "forgotten: not measured, there is no source to measure on" in out.splitlines()
    assert out.splitlines()[-1].endswith(f": lalora evaluate {mine['model']} adapter --source unseen=FILE")


REFUSED = {
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
