"""`lalora evaluate`: what was forgotten, with intervals; a gate for continuous integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lalora.assets import load_model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def given(mine: dict[str, Any], tmp_path: Path) -> list[object]:
    """The arguments, with an adapter that changed something and text of one's own."""
    tuned: Any = get_peft_model(load_model(str(mine["model"]), torch.float32), LoraConfig(r=2))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    tuned.save_pretrained(tmp_path / "adapter")
    tuned.merge_and_unload().save_pretrained(tmp_path / "merged")
    text = tmp_path / "notes.txt"
    text.write_text("\n\n".join(f"the cat sat on the mat {n % 10} {n // 10} ." for n in range(40)))
    return ["--source", f"notes={text}", "--rows", 8, "--dtype", "float32"]


def test_rows_intervals_and_the_rows_that_drifted_most(
    run: Run, given: list[object], mine: dict[str, Any], tmp_path: Path
) -> None:
    status, out, err = run("evaluate", mine["model"], "adapter", *given, "--out", "numbers.json")
    assert status == 0, err
    found = json.loads((tmp_path / "numbers.json").read_text())
    drift = found["source_drift"]
    assert 0 < drift["low"] <= drift["mean"] == found["adapter"]["source_kl"] <= drift["high"]
    assert found["measured"]["notes"] == {"rows": 8, "tokens": 8 * 8}
    worst = [row["kl"] for row in found["drifted_most"]]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] > drift["mean"]
    assert found["drifted_most"][0]["text"].startswith("the cat sat on the mat")
    assert f"drift on the sources: {drift['mean']:.4f}" in out
    status, _, err = run("evaluate", mine["model"], tmp_path / "merged", *given, "--out", "merged.json")
    assert status == 0, err
    assert json.loads((tmp_path / "merged.json").read_text())["source_drift"]["mean"] == pytest.approx(
        drift["mean"], rel=1e-4
    )


def test_a_gate_ends_with_status_one(run: Run, given: list[object], mine: dict[str, Any]) -> None:
    status, out, _ = run("evaluate", mine["model"], "adapter", *given, "--max-drift", 1e-6)
    assert status == 1
    assert "MORE than --max-drift 1e-06" in out.splitlines()[-1]
    status, out, _ = run("evaluate", mine["model"], "adapter", *given, "--max-drift", 100)
    assert status == 0
    assert "within --max-drift 100" in out.splitlines()[-1]
    status, _, err = run("evaluate", mine["model"], "adapter", *given, "--max-drift", -1)
    assert status == 2
    assert "--max-drift" in err
