"""Patterns of others are matched as PEFT would, and none can hang."""

from __future__ import annotations

import time
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

from lalora import LaloraError
from lalora.adapter import trainable_tensors
from lalora.assets.patterns import without_patterns
from tiny import llama

MODULES = [name for name, _ in llama().named_modules()]
TAME: dict[str, dict[str, Any]] = {
    "names": {"target_modules": ["q_proj", "layers.1.mlp.up_proj"]},
    "all linear": {"target_modules": "all-linear"},
    "an expression": {"target_modules": r".*layers\.[01]\.(self_attn|mlp)\.(q|up)_proj"},
    "excluded": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*layers\.0\..*"},
    "ranks": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 5}, "alpha_pattern": {"v_proj": 7}},
    "ranks by expression": {"target_modules": "all-linear", "rank_pattern": {r"layers\.1\..*_proj": 5, "q_proj": 2}},
    "some layers": {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
}


@pytest.mark.parametrize("settings", TAME.values(), ids=TAME.keys())
def test_the_same_modules_are_adapted(settings: dict[str, Any]) -> None:
    plain = without_patterns(settings, MODULES, "file")
    found, right = (
        {name: tuple(p.shape) for name, p in trainable_tensors(get_peft_model(llama(), LoraConfig(**one))).items()}
        for one in (plain, settings)
    )
    assert found == right


SLOW = r"(?:(?:.|..)*)*[A-Z]"
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "target": ({"target_modules": SLOW}, "takes too long to match"),
    "excluded": ({"exclude_modules": SLOW}, "exclude_modules: .* takes too long"),
    "rank": ({"rank_pattern": {SLOW: 3}}, "rank_pattern: .* takes too long"),
    "alpha": ({"alpha_pattern": {SLOW: 3}}, "alpha_pattern: .* takes too long"),
    "layers": ({"layers_to_transform": [0], "layers_pattern": r"(([a-z_.])+)+"}, "layers_pattern must be the name"),
    "broken": ({"target_modules": "(("}, "is no regular expression"),
    "a key that is no text": ({"rank_pattern": {3: 3}}, "rank_pattern: a pattern is a text"),
    "no mapping": ({"rank_pattern": "q_proj"}, "rank_pattern must map names"),
    "endless": ({"target_modules": "a" * 5000}, "a pattern is a text of at most 4096"),
}


@pytest.mark.parametrize(("settings", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_no_pattern_hangs(settings: dict[str, Any], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(LaloraError, match=f"some/file: .*{message}|some/file: {message}"):
        without_patterns(settings, [*MODULES, "model." + "layers_" * 8], "some/file")
    assert time.monotonic() - began < 10
