"""The settings of LoRA that change what a displacement of its tensors does to the model."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from lalora.adapter import peft_model
from lalora.laplace._field_types import Name, Number, Rank, Strict


class LoraSettings(Strict):
    """What an adapter has to have in common with the one that was fitted, by PEFT's names."""

    r: Rank
    lora_alpha: Number
    use_rslora: bool
    use_dora: bool
    rank_pattern: dict[Name, Rank] | None
    alpha_pattern: dict[Name, Number] | None
    bias: Literal["none", "all", "lora_only"]
    lora_bias: bool | None
    target_parameters: list[Name] | None = None


def lora_settings(model: nn.Module) -> dict[str, Any]:
    """Read the settings of the active adapter, ready for JSON."""
    bare = peft_model(model)
    settings = bare.peft_config[bare.active_adapters[0]].to_dict()
    chosen = {key: settings.get(key) for key in LoraSettings.model_fields}
    return {key: sorted(value) if isinstance(value, set) else value for key, value in chosen.items()}
