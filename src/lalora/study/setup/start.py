"""The model at its start: frozen base weights and a fresh adapter that changes nothing yet."""

from collections.abc import Mapping
from typing import Literal

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import set_seed

from lalora.adapter import adapter_tensors, name_in_base
from lalora.assets.patterns import without_patterns
from lalora.errors import LaloraError, first_sentence
from lalora.laplace import Laplace
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.device import device

_PEFT_NAMES: Mapping[str, Literal[True, "gaussian"]] = {"kaiming": True, "gaussian": "gaussian"}


def with_adapter(base: nn.Module, settings: RunSettings) -> PeftModel:
    """Give a model a fresh adapter.

    Runs of the same seed and shape start from the very same adapter, whatever their method and device.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        init_lora_weights=_PEFT_NAMES[settings.init],
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )
    return adapted(base, config, settings.seed)


def adapted(base: nn.Module, config: LoraConfig, seed: int) -> PeftModel:
    """Put a fresh adapter on a model and move both to the device."""
    set_seed(seed)
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise LaloraError(f"target_modules={config.target_modules!r}: {first_sentence(error)}") from error
    return model.to(device())


def changes_nothing(model: PeftModel) -> bool:
    """Tell whether the adapter leaves the base model's function as it is."""
    others = [tensor for name, tensor in adapter_tensors(model).items() if "lora_A" not in name]
    return not any(bool(tensor.detach().any()) for tensor in others)


def at_mean(base: nn.Module, laplace: Laplace) -> PeftModel:
    """Give a model the adapter that a Laplace was fitted on."""
    known = {key: value for key, value in laplace.provenance.lora.items() if value is not None}
    lora = without_patterns(known, [name for name, _ in base.named_modules()], "this Laplace")
    suffix = ".lora_A.weight"
    layers = [name_in_base(name).removesuffix(suffix) for name in laplace.shapes if name.endswith(suffix)]
    # PEFT wraps the modules that hold adapted parameters by itself, one wrapper around the other.
    holders = tuple(name.rpartition(".")[0] for name in lora.get("target_parameters") or ())
    modules = [name for name in layers if not name.removesuffix(".base_layer").endswith(holders)]
    model = adapted(base, LoraConfig(target_modules=modules, task_type="CAUSAL_LM", **lora), seed=0)
    laplace.restore_mean(model)
    return model
