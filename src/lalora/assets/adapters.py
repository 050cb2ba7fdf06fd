"""Load an adapter that somebody saved: whole, of the right kind, and without matching a pattern of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn

from lalora.assets.patterns import without_patterns
from lalora.errors import LaloraError, one_line

_SETTINGS = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_LARGEST_SETTINGS = 1 << 20


def load_adapter(base: nn.Module, folder: Path, model: str) -> PeftModel:
    """Put a saved LoRA adapter on its base model.

    Args:
        base: The base model, which is changed.
        folder: In PEFT's format.
        model: What the user calls the base model, for the message.

    Returns:
        The PEFT model.

    Raises:
        LaloraError: If the folder holds no LoRA adapter, one of another model, or weights that are damaged, missing or
            too many.
    """
    settings = adapter_settings(folder)
    weights = folder / _WEIGHTS
    tame = without_patterns(settings, [name for name, _ in base.named_modules()], str(folder / _SETTINGS))
    try:
        known: Any = LoraConfig  # which ships no types
        config = known.from_peft_type(**known.check_kwargs(**tame))
        with safe_open(weights, framework="pt") as file:
            there = set(file.keys())
        tuned = PeftModel.from_pretrained(base, str(folder), config=config)
        wanted = set(get_peft_model_state_dict(tuned, save_embedding_layers=False))
    except Exception as error:  # whatever a library makes of a damaged folder
        raise LaloraError(f"{folder} is no adapter of {model}: {one_line(error)}") from error
    for kind, names in (("lacks", wanted - there), ("has", there - wanted)):
        # PEFT saves embeddings and head along where the vocabulary grew.
        named = sorted(name for name in names if kind == "lacks" or "lora_" in name)
        if named:
            more = f" and {len(named) - 1} more" if len(named) > 1 else ""
            meant = "which its settings name" if kind == "lacks" else f"which do not fit its settings on {model}"
            raise LaloraError(f"{weights} {kind} '{named[0]}'{more}, {meant}: it is damaged or of another model")
    return tuned


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a saved LoRA adapter, without touching its weights.

    Args:
        folder: In PEFT's format.

    Returns:
        The settings, as the file has them.

    Raises:
        LaloraError: If the folder holds no LoRA adapter.
    """
    file = folder / _SETTINGS
    if not file.is_file():
        raise LaloraError(f"{folder} holds no PEFT adapter: {_SETTINGS} is missing")
    if file.stat().st_size > _LARGEST_SETTINGS:
        raise LaloraError(f"{file} is too large for the settings of an adapter ({file.stat().st_size} bytes)")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LaloraError(f"{file} is not JSON ({one_line(error)}): fetch the adapter again") from error
    if not isinstance(settings, dict):
        raise LaloraError(f"{file} holds no settings of an adapter: fetch it again")
    if settings.get("peft_type") != "LORA":
        raise LaloraError(
            f"{folder} is an adapter of kind {str(settings.get('peft_type'))[:40]!r}: lalora serves LoRA adapters only"
        )
    if not (folder / _WEIGHTS).is_file():
        raise LaloraError(f"{folder} holds no PEFT adapter: {_WEIGHTS} is missing (pickled weights are not read)")
    return settings
