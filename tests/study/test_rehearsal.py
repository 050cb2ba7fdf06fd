"""A dry run refuses what the run would refuse, in the same words; it fetches nothing and writes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, T5Config

from lalora.cli.dry_run import dry_run
from lalora.errors import LaloraError
from lalora.study import load_recipe, run_study

Damage = Callable[[Path, Path], dict[str, Any]]


def _rows_without_a_column(model: Path, data: Path) -> dict[str, Any]:
    (data / "gsm8k.jsonl").write_text('{"question": "How much is one ?"}\n')
    return {}


def _data_that_is_not_there(model: Path, data: Path) -> dict[str, Any]:
    return {"held_out": {"lambada": str(data / "nowhere.jsonl")}}


def _too_few_rows_to_hold_back(model: Path, data: Path) -> dict[str, Any]:
    return {"validation_rows": 1000}


def _rows_that_are_all_too_long(model: Path, data: Path) -> dict[str, Any]:
    return {"max_length": 2}


def _a_model_without_weights(model: Path, data: Path) -> dict[str, Any]:
    (model / "model.safetensors").unlink()
    return {}


def _a_model_that_lacks_a_weight(model: Path, data: Path) -> dict[str, Any]:
    weights = load_file(model / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return {}


def _weights_that_are_cut(model: Path, data: Path) -> dict[str, Any]:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: len(content) // 2])
    return {}


def _half_a_tokenizer(model: Path, data: Path) -> dict[str, Any]:
    content = (model / "tokenizer.json").read_bytes()
    (model / "tokenizer.json").write_bytes(content[: len(content) // 2])
    return {}


def _a_model_that_sees_later_tokens(model: Path, data: Path) -> dict[str, Any]:
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertLMHeadModel(BertConfig(vocab_size=vocabulary, **sizes)).save_pretrained(model)
    return {}


def _an_encoder_decoder(model: Path, data: Path) -> dict[str, Any]:
    T5Config().save_pretrained(model)
    return {}


def _modules_that_are_not_there(model: Path, data: Path) -> dict[str, Any]:
    return {"target_modules": ["no_such_module"]}


DAMAGES = (
    _rows_without_a_column,
    _data_that_is_not_there,
    _too_few_rows_to_hold_back,
    _rows_that_are_all_too_long,
    _a_model_without_weights,
    _a_model_that_lacks_a_weight,
    _weights_that_are_cut,
    _half_a_tokenizer,
    _a_model_that_sees_later_tokens,
    _an_encoder_decoder,
    _modules_that_are_not_there,
)


@pytest.fixture
def copied(tmp_path: Path, tiny_model: Path, tiny_data: Path, document: dict[str, Any]) -> tuple[Path, Path]:
    """The tiny model and its data, to be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model")), Path(shutil.copytree(tiny_data, tmp_path / "data"))


def places(model: Path, data: Path) -> dict[str, Any]:
    return {
        "model": str(model),
        "sources": {"winogrande": str(data / "winogrande.jsonl")},
        "target": {"gsm8k": str(data / "gsm8k.jsonl")},
        "held_out": {"lambada": str(data / "lambada.jsonl")},
    }


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_").replace("_", " "))
def test_it_refuses_what_the_run_refuses(
    damage: Damage, copied: tuple[Path, Path], recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file(**{**places(*copied), **damage(*copied)}))
    with pytest.raises(LaloraError) as dry:
        dry_run(recipe, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    with pytest.raises(LaloraError) as real:
        run_study(recipe, tmp_path / "study", "", lambda _: None)
    assert str(dry.value) == str(real.value)


def test_rows_on_this_disk_are_checked_though_the_model_is_not_there(
    copied: tuple[Path, Path], recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    _rows_without_a_column(*copied)
    recipe = load_recipe(recipe_file(**{**places(*copied), "model": "someone/model"}))
    with pytest.raises(LaloraError, match=r"gsm8k\.jsonl.*answer"):
        dry_run(recipe, tmp_path / "study")


def test_a_model_on_this_disk_is_checked_though_rows_are_not_there(
    copied: tuple[Path, Path], recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    _a_model_that_lacks_a_weight(*copied)
    recipe = load_recipe(recipe_file(**{**places(*copied), "target": {"gsm8k": "someone/data"}}))
    with pytest.raises(LaloraError, match=r"lacks the weight 'model\.norm\.weight'"):
        dry_run(recipe, tmp_path / "study")


def test_what_would_be_fetched_is_named_and_not_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LALORA_HOME", str(tmp_path / "home"))
    dry_run(load_recipe("quickstart"), tmp_path / "study")
    said = capsys.readouterr().out
    assert "not checked: the model smollm2-135m, which would be fetched" in said
    assert "not checked: gsm8k, whose rows would be fetched (embedded)" in said
    assert "memory and time: not known (smollm2-135m is not fetched yet: lalora assets fetch smollm2-135m)" in said
    assert not list(tmp_path.iterdir())


def test_large_weights_are_left_alone_and_everything_else_is_checked(
    copied: tuple[Path, Path],
    recipe_file: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("lalora.study.dry_run.rehearsal._LARGEST", 10)
    _a_model_that_lacks_a_weight(*copied)
    dry_run(load_recipe(recipe_file(**places(*copied))), tmp_path / "study")
    assert f"not checked: the weights of {copied[0]}, which are large" in capsys.readouterr().out
    with pytest.raises(LaloraError, match="none of .* training rows has at most 2 tokens"):
        dry_run(load_recipe(recipe_file(**places(*copied), max_length=2)), tmp_path / "study")


def test_a_folder_of_another_study_or_run_or_none_is_refused(
    finished_study: tuple[Path, dict[str, Any], Any], recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished_study[0], tmp_path / "study"))
    with pytest.raises(LaloraError, match="holds the study"):
        dry_run(load_recipe("smoke"), folder)
    with pytest.raises(LaloraError, match="holds a run with other settings"):
        dry_run(load_recipe(recipe_file(scored_rows=2)), folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(LaloraError, match="cannot be written"):
        dry_run(load_recipe(recipe_file()), tmp_path / "file")
