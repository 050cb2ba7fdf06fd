"""`lalora push` as a user meets it, and what the other commands then take from the hub."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from folder_hub import FolderHub
from lalora.assets import load_model
from tiny import shake

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return FolderHub.instead(monkeypatch, tmp_path / "hub")


def test_a_curvature_goes_to_the_hub_and_every_command_takes_it_from_there(
    run: Run, mine: dict[str, Any], published: Path, tmp_path: Path
) -> None:
    fit = ("fit", mine["model"], "--source", mine["source"], "--rows", 3, "--dtype", "float32", "--base")
    status, _, err = run(*fit, "--curvature", "weight-kfac")
    assert status == 0, err
    assert re.search(r"[Mk]B, \d+% of the \d+ layers' weights in bfloat16; .* eigenvectors a factor", err)
    status, out, err = run("push", "laplace", "me/curvature", "--private", "--max-share", 0.5)
    assert status == 0, err
    assert out == "pushed to hub://me/curvature\n"
    assert FolderHub.private
    assert "kept here: " in err
    assert re.search(r"published: .* the mean of the other .* of its trace on average", err)
    assert re.search(r"the predicted drift was off by (about|over) \d+%", err)
    assert "--base-model user/name names it" in err
    card = (published / "me" / "curvature" / "README.md").read_text()
    assert "base_model" not in card
    assert str(tmp_path) not in card
    (command,) = re.findall(r"```\n(lalora .*)\n```", card)
    words = shlex.split(command.replace("MODEL", str(mine["model"])).replace("my-task=rows.jsonl", "TARGET"))
    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    options = ("--steps", 2, "--dtype", "float32")
    status, _, err = run(*[target if word == "TARGET" else word for word in words[1:]], *options)
    assert status == 0, err
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    assert any(row.get("penalty", 0) > 0 for row in rows)
    status, _, err = run(
        "soften", mine["model"], "adapter", "--target", target, "--source", mine["source"], "--rows", 3,
        "--laplace", "me/curvature", "--scored-rows", 4, "--dtype", "float32",
    )  # fmt: skip
    assert status == 0, err
    assert "fitting the target's curvature" in err


def test_an_adapter_goes_to_the_hub_without_the_place_of_its_base(
    run: Run, mine: dict[str, Any], published: Path, tmp_path: Path
) -> None:
    model = get_peft_model(load_model(str(mine["model"]), torch.float32), LoraConfig(r=2, target_modules="all-linear"))
    shake(model, 0.5)
    model.save_pretrained(str(tmp_path / "theirs"))
    status, out, err = run("push", "theirs", "me/adapter", "--licence", "mit")
    assert status == 0, err
    assert out == "pushed to hub://me/adapter\n"
    assert "will name no base model" in err
    there = published / "me" / "adapter"
    assert {file.name for file in there.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((there / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    card = (there / "README.md").read_text()
    assert "license: mit" in card
    assert "base_model" not in card
    assert str(tmp_path) not in card
    evaluate = ("evaluate", mine["model"], "me/adapter", "--source", mine["source"], "--rows", 4, "--dtype", "float32")
    status, out, err = run(*evaluate)
    assert status == 0, err
    assert "drift on the sources" in out
    assert run("push", "theirs", "me/adapter", "--base-model", "someone/model")[0] == 0
    assert json.loads((there / "adapter_config.json").read_text())["base_model_name_or_path"] == "someone/model"
    assert "base_model: someone/model" in (there / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere", "me/it"), "nowhere holds neither laplace.json nor adapter_config.json: give what `lalora fit`"),
        (("nowhere", "it"), "'it' is no id on the Hugging Face hub: give user/name"),
        (("nowhere", "me/it", "--base-model", "./here"), "--base-model is an id on the Hugging Face hub"),
    ],
)
def test_what_cannot_be_pushed(words: tuple[str, ...], message: str, refused: Callable[..., str]) -> None:
    assert message in refused("push", *words)


def test_without_a_network(
    refused: Callable[..., str], run: Run, mine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run("fit", mine["model"], "--source", mine["source"], "--rows", 3, "--dtype", "float32")[0] == 0
    assert "HF_HUB_OFFLINE is set" in refused("push", "laplace", "me/curvature")
    target = f"gsm8k={mine['data'] / 'gsm8k.jsonl'}"
    for command in (
        ("train", mine["model"], "--target", target, "--laplace", "me/curvature"),
        ("soften", mine["model"], "me/adapter", "--target", target, "--source", mine["source"]),
        ("evaluate", mine["model"], "me/adapter", "--source", mine["source"]),
        ("fit", "me/model", "--source", mine["source"]),
        ("fit", mine["model"], "--source", "winogrande=me/data"),
    ):
        said = refused(*command)
        assert "'me/" in said
        assert "not fetched before" in said or "HF_HUB_OFFLINE" in said
