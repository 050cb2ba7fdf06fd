"""Folders of models and adapters from a stranger, damaged: refused in one line, or used."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hostile.sandbox import Sandbox
from lalora.assets import load_model

SHORT, LONG, BATCH = 40, 800, 10

# What broke once: the folder, its file, the key, the value, and what is said of it now.
BROKE: dict[str, tuple[str, str, str, Any, str]] = {
    "a length that is a text": ("model", "tokenizer_config.json", "model_max_length", "auto", "must be a number"),
    "a length that is a mapping": ("model", "tokenizer_config.json", "model_max_length", {"x": 1}, "must be a number"),
    "a length that is NaN": ("model", "tokenizer_config.json", "model_max_length", float("nan"), "must be a number"),
    "no length at all": ("model", "tokenizer_config.json", "model_max_length", -1, "must be a number"),
    "layers that are a number": ("adapter", "adapter_config.json", "layers_pattern", 1.5, "layers_pattern must be"),
    "tokens that are a text": ("adapter", "adapter_config.json", "alora_invocation_tokens", "auto", "a valid list"),
    "a rank that is a list": ("adapter", "adapter_config.json", "r", [8], "r is [8] (Input should be a valid integer"),
    "layers that are true": ("adapter", "adapter_config.json", "layers_pattern", True, "layers_pattern must be"),
}


@pytest.fixture(scope="session")
def originals(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    adapter = tmp_path_factory.mktemp("adapter")
    base = load_model(str(tiny_model), torch.float32)
    get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")).save_pretrained(adapter)
    (adapter / "README.md").unlink()
    return {"model": tiny_model, "adapter": adapter}


@pytest.mark.parametrize("case", BROKE)
def test_what_broke_once_is_refused_in_one_line(
    case: str, originals: dict[str, Path], sandbox: Sandbox, tmp_path: Path
) -> None:
    kind, name, key, value, message = BROKE[case]
    folder = Path(shutil.copytree(originals[kind], tmp_path / "folder"))
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**settings, key: value}))
    end, said = sandbox.call("hostile.folders:replay", kind, str(folder), str(originals["model"])).value
    assert end == "refused", said
    assert message in said


@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_a_folder_that_is_whole_is_used(kind: str, originals: dict[str, Path], sandbox: Sandbox) -> None:
    arguments = (kind, str(originals[kind]), str(originals["model"]))
    assert sandbox.call("hostile.folders:replay", *arguments).value == ["accepted", ""]


def judged(
    kind: str, seeds: list[int], originals: dict[str, Path], sandbox: Sandbox, folder: Path
) -> list[dict[str, Any]]:
    """Judges several in one process; one by one where one of them brings the process down."""
    scratch = folder / f"{seeds[0]}-{len(seeds)}"
    scratch.mkdir()
    arguments = (kind, str(originals[kind]), seeds, str(scratch), str(originals["model"]))
    outcome = sandbox.call("hostile.folders:judge", *arguments, timeout=10 + 2 * (len(seeds) - 1))
    shutil.rmtree(scratch)
    if not outcome.broken and outcome.value and outcome.grown < 500 * 2**20:
        return list(outcome.value)
    if len(seeds) == 1:
        end = "hung" if outcome.timed_out else f"died, {outcome.grown >> 20} MiB"
        return [{"seed": seeds[0], "end": end, "said": outcome.err[-1500:], "seconds": outcome.seconds}]
    return [found for seed in seeds for found in judged(kind, [seed], originals, sandbox, folder)]


def require_none_broken(kind: str, seeds: range, originals: dict[str, Path], sandbox: Sandbox, folder: Path) -> None:
    found = []
    for start in range(seeds.start, seeds.stop, BATCH):
        found += judged(kind, list(range(start, min(start + BATCH, seeds.stop))), originals, sandbox, folder)
    print(f"\n{kind}: {dict(Counter(case['end'] for case in found))}")
    broken = [case for case in found if case["end"] not in ("accepted", "refused") or case["seconds"] > 10]
    assert not broken, f"{len(broken)} of {len(found)}:\n" + "\n".join(map(str, broken[:20]))
    assert len(found) == len(seeds)


@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_a_damaged_folder_is_refused_in_one_line_or_used(
    kind: str, originals: dict[str, Path], sandbox: Sandbox, tmp_path: Path
) -> None:
    require_none_broken(kind, range(SHORT), originals, sandbox, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_hundreds_of_damaged_folders(kind: str, originals: dict[str, Path], sandbox: Sandbox, tmp_path: Path) -> None:
    require_none_broken(kind, range(SHORT, LONG), originals, sandbox, tmp_path)
