"""`lalora check`: the verdict first, as a line and as an exit status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from transformers import BertConfig, BertLMHeadModel

Run = Callable[..., tuple[int, str, str]]


def test_a_model_that_works_ends_with_status_zero(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    status, out, err = run("check", tiny_model, "--dtype", "float32", "--out", "found/check.json")
    assert status == 0, err
    assert out.splitlines()[0] == f"{tiny_model.name}: works; a fit listens to 14 layers"
    assert "curvature diagonal: works" in out
    assert "no chat template" in out
    assert out.splitlines()[-1].startswith("memory: ")
    found = json.loads((tmp_path / "found" / "check.json").read_text())
    assert found["works"] is True
    assert found["right"]["loss"] <= found["right"]["allowed"]


def test_a_model_that_would_be_refused_ends_with_status_one(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    words = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertLMHeadModel(BertConfig(vocab_size=words, **small)).save_pretrained(folder)
    status, out, err = run("check", folder, "--out", "check.json")
    assert status == 1, err
    assert out.splitlines()[0].startswith("encoder: does NOT work: BertLMHeadModel sees tokens that come later")
    assert json.loads((tmp_path / "check.json").read_text())["works"] is False


def test_bad_input_ends_with_status_two_and_writes_nothing(
    refused: Callable[..., str], tiny_model: Path, tmp_path: Path
) -> None:
    assert "there is no model folder ./nowhere" in refused("check", "./nowhere", "--out", "check.json")
    assert "dtype 'half' is not served" in refused("check", tiny_model, "--dtype", "half", "--out", "check.json")
    assert "target_modules" in refused("check", tiny_model, "--target-modules", "nowhere", "--out", "check.json")
    assert not list(tmp_path.iterdir())
