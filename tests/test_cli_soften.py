"""`lalora soften` as a user meets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from lalora.assets import load_model
from lalora.report import front_table, sentences
from tiny import shake

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked(mine: dict[str, Any], tmp_path: Path) -> list[object]:
    """Words of a command that softens an adapter which PEFT alone made."""
    model = get_peft_model(load_model(mine["model"], torch.float32), LoraConfig(r=2, target_modules="all-linear"))
    shake(model, 0.5)
    model.save_pretrained(str(tmp_path / "theirs"))
    data = mine["data"]
    return [
        "soften", mine["model"], "theirs", "--target", f"gsm8k={data / 'gsm8k.jsonl'}", "--source", mine["source"],
        "--held-out", f"lambada={data / 'lambada.jsonl'}", "--rows", 3, "--scored-rows", 4, "--dtype", "float32",
    ]  # fmt: skip


def front(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "front.json").read_text())
    return found


def test_it_writes_an_adapter_a_picture_and_says_what_to_type_next(
    run: Run, mine: dict[str, Any], asked: list[object], tmp_path: Path
) -> None:
    status, out, err = run(*asked)
    assert status == 0
    assert "fitting the curvatures" in err
    # No rows that were just fitted on, or that chose λ.
    following = f"lalora evaluate {mine['model']} softened --source unseen=FILE"
    assert out.splitlines()[-1] == f"next, on rows of your own that chose nothing: {following}"
    assert "softened, λ = 1 ←" in out
    folder = tmp_path / "softened"
    found = front(folder)
    assert {path.name for path in folder.iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors", "front.json", "front.png", "report.html",
    }  # fmt: skip
    assert not (folder / "README.md").exists()  # PEFT's, with nothing filled in
    assert found["choice"] == {"by": "strength", "strength": 1.0, "met": True}
    by_name = {(row["kind"], row.get("alpha", row.get("strength"))): row for row in found["versions"]}
    assert by_name["scaled", 0.0]["source_kl"] == pytest.approx(0, abs=1e-6)
    assert by_name["softened", 0.1]["source_kl"] > by_name["softened", 10.0]["source_kl"]
    assert set(by_name["softened", 1.0]["kl"]) == {"winogrande", "lambada"}
    # What was saved is what was measured.
    fresh = PeftModel.from_pretrained(load_model(mine["model"], torch.float32), str(folder))
    assert fresh.peft_config["default"].r == 2
    rows = ("--source", mine["source"], "--target", f"gsm8k={mine['data'] / 'gsm8k.jsonl'}", "--rows", 4)
    assert run(*following.split()[1:4], *rows, "--dtype", "float32", "--out", "numbers.json")[0] == 0
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["adapter"]["kl"]["winogrande"] == pytest.approx(by_name["softened", 1.0]["source_kl"], rel=1e-3)
    assert numbers["adapter"]["loss"]["gsm8k"] == pytest.approx(by_name["softened", 1.0]["target_loss"], rel=1e-4)
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "λ = 1 ← chosen" in page


def test_a_budget_and_a_floor(run: Run, asked: list[object], tmp_path: Path) -> None:
    assert run(*asked, "--out", "first")[0] == 0
    whole = next(row for row in front(tmp_path / "first")["versions"] if row.get("alpha") == 1)["source_kl"]
    assert run(*asked, "--budget", whole / 20, "--out", "second")[0] == 0
    found = front(tmp_path / "second")
    chosen = next(row for row in found["versions"] if row.get("strength") == found["choice"]["strength"])
    assert found["choice"]["by"] == "budget"
    assert whole / 50 < chosen["source_kl"] <= whole / 20
    status, out, _ = run(*asked, "--budget", 2 * whole, "--out", "whole")
    assert status == 0
    assert front(tmp_path / "whole")["choice"]["strength"] == 0
    assert "softened, λ = 0 ←" in out
    status, out, _ = run(*asked, "--floor", 0.01, "--out", "third")
    assert status == 0
    assert "gives up at most 0.01 nats" in out


def test_a_laplace_that_is_there_already(run: Run, mine: dict[str, Any], asked: list[object], tmp_path: Path) -> None:
    fit = ("fit", mine["model"], "--source", mine["source"], "--rows", 3, "--dtype", "float32", "--base")
    assert run(*fit, "--curvature", "weight-kfac")[0] == 0
    status, _, err = run(*asked, "--laplace", "laplace")
    assert status == 0
    assert "fitting the target's curvature" in err


def test_a_full_fine_tuning(run: Run, mine: dict[str, Any], asked: list[object], tmp_path: Path) -> None:
    model = load_model(mine["model"], torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "theirs-whole")
    asked[2] = "theirs-whole"
    status, out, _ = run(*asked[:-2])
    assert status == 0
    assert "next: load softened as you load theirs-whole" in out
    found = front(tmp_path / "softened")
    by_name = {(row["kind"], row.get("alpha", row.get("strength"))): row for row in found["versions"]}
    assert by_name["scaled", 0.0]["source_kl"] == pytest.approx(0, abs=1e-6)
    assert by_name["softened", 10.0]["source_kl"] < by_name["scaled", 1.0]["source_kl"]
    # Complete: model and tokenizer.
    assert run("fit", "softened", "--source", mine["source"], "--rows", 2, "--rank", 2)[0] == 0


REFUSED: dict[str, tuple[list[object], str]] = {
    "two wishes": (["--budget", 0.1, "--strength", 1], "--budget and --strength are several wishes"),
    "no budget": (["--budget", 0], "--budget must be a finite number above 0"),
    "NaN": (["--floor", "nan"], "--floor must be a finite number above 0"),
    "infinite": (["--strength", "inf"], "--strength must be a finite number"),
    "out is there": (["--out", "theirs"], "theirs is there already"),
    "no Laplace": (["--laplace", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_one_line_and_leave_nothing(
    case: str, refused: Callable[..., str], asked: list[object], tmp_path: Path
) -> None:
    more, message = REFUSED[case]
    assert message in refused(*asked, *more)
    assert not (tmp_path / "softened").exists()
    assert not list(tmp_path.glob(".*lalora-part"))


@pytest.mark.parametrize("name", ["./nowhere", "no-such-folder"])
def test_an_adapter_that_is_nowhere(name: str, refused: Callable[..., str], asked: list[object]) -> None:
    asked[2] = name
    assert f"there is no adapter folder {name}" in refused(*asked)


def test_an_adapter_that_changes_nothing(
    refused: Callable[..., str], mine: dict[str, Any], asked: list[object], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "theirs")
    model = get_peft_model(load_model(mine["model"], torch.float32), LoraConfig(r=2, target_modules="all-linear"))
    model.save_pretrained(str(tmp_path / "theirs"))
    assert "the adapter changes nothing" in refused(*asked)


def test_a_disk_that_fills_up_leaves_nothing(
    refused: Callable[..., str], asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr("lalora.report.front_page.write_atomically", full)
    assert "softened: cannot be saved" in refused(*asked)
    assert {path.name for path in tmp_path.iterdir()} == {"theirs"}


def version(kind: str, knob: float, loss: float, kl: float) -> dict[str, Any]:
    name = "alpha" if kind == "scaled" else "strength"
    return {
        "kind": kind, name: knob, "target_loss": loss, "source_kl": kl, "interval": [kl / 2, 2 * kl], "kl": {"a": kl},
    }  # fmt: skip


def test_what_is_said() -> None:
    document = {
        "sources": ["a"], "held_out": [], "scale": 0.5, "choice": {"by": "budget", "budget": 0.01, "strength": 4.0,
                                                                  "met": False},
        "versions": [version("scaled", 0.0, 2.0, 0.0), version("scaled", 1.0, 1.0, 0.4),
                     version("softened", 4.0, 1.1, 0.02)],
    }  # fmt: skip
    assert " ".join(sentences(document)) == (
        "No version was measured within 0.01 nats per token of drift. Chosen: λ = 4, the nearest. It drifts 0.0200 "
        "nats per token from the base on source text, where the adapter drifts 0.4000: 95% less. Of 1.000 nats per "
        "token of target loss that the adapter learned it keeps 0.900 (90.0%). Training had gone too far: times 0.5 "
        "the adapter predicts the target best, and the front begins there."
    )
    assert front_table(document).row_count == 3
