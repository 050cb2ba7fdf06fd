"""A model of a configuration with an adapter, on the meta device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PretrainedConfig

from lalora.errors import LaloraError, first_sentence, one_line


def without_weights(
    config: PretrainedConfig, dtype: torch.dtype, target_modules: str | Sequence[str], rank: int, name: str
) -> PeftModel:
    """Make the model, which has shapes and no memory; messages call it by the name."""
    modules = target_modules if isinstance(target_modules, str) else list(target_modules)
    with torch.device("meta"):
        try:
            base = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise LaloraError(f"{name} does not predict the next token ({one_line(error)})") from error
        try:
            adapted = get_peft_model(base, LoraConfig(r=rank, target_modules=modules, task_type="CAUSAL_LM"))
        except ValueError as error:
            raise LaloraError(f"target_modules={modules!r}: {first_sentence(error)}") from error
    assert isinstance(adapted, PeftModel)
    return adapted
