"""The trainable tensors of a PEFT LoRA model, by names that do not depend on the adapter's own name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import extract_model_from_parallel
from peft import PeftModel
from peft.tuners.lora import LoraLayer, LoraModel
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lalora.engines import whole_named
from lalora.errors import LaloraError
from lalora.hub import id_in_cache
from lalora.tensor_names import a_name, b_name

HOLDERS = ("lora_", "modules_to_save", "trainable_tokens")
"""What PEFT calls the containers that hold a tensor for each adapter."""
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LinearPair:
    """A LoRA layer whose A and B are linear modules that are called: h = W₀x + s·B(A x).

    Attributes:
        layer: Name of the adapted module in the model.
        a: Normalised name of the weight of A, (r, d_in).
        b: Normalised name of the weight of B, (d_out, r).
        down: The module that applies A.
        up: The module that applies B.
        scaling: s = α/r, or α/√r for rsLoRA.
        plain: Whether the merged update is s·BA, which it is not for variants such as DoRA.
    """

    layer: str
    a: str
    b: str
    down: nn.Linear
    up: nn.Linear
    scaling: float
    plain: bool


def peft_model(model: nn.Module) -> PeftModel:
    """Unwrap a model to its PEFT model."""
    # The bare model is let through first: looking for wrappers walks through all modules, and this runs every step.
    bare = model if isinstance(model, PeftModel) else extract_model_from_parallel(model, keep_torch_compile=False)
    if not isinstance(bare, PeftModel) and lora_layers(bare):
        raise LaloraError(
            f"the adapter of {type(bare).__name__} was put in by transformers' own add_adapter or load_adapter: give "
            "the base model to peft.get_peft_model or PeftModel.from_pretrained instead"
        )
    if isinstance(bare, PeftModel) and not isinstance(bare.base_model, LoraModel):
        kind = bare.peft_config[bare.active_adapter].peft_type
        raise LaloraError(f"its adapter is of kind {getattr(kind, 'value', kind)}: lalora serves LoRA adapters only")
    if not isinstance(bare, PeftModel):
        raise LaloraError(f"{type(bare).__name__} has no LoRA adapter: wrap it with peft.get_peft_model first")
    if len(bare.active_adapters) != 1:
        raise LaloraError(f"adapters {list(bare.active_adapters)} are active: activate one with set_adapter")
    return bare


def has_adapter(model: nn.Module) -> bool:
    """Tell whether a model went through PEFT."""
    bare = extract_model_from_parallel(model, keep_torch_compile=False)
    return isinstance(bare, PeftModel) or bool(lora_layers(bare))


def base_model(model: nn.Module) -> nn.Module:
    """Unwrap a model to the one without an adapter and without wrappers; adapted modules stay in it."""
    known = isinstance(model, PeftModel | PreTrainedModel)
    bare = model if known else extract_model_from_parallel(model, keep_torch_compile=False)
    base: nn.Module = bare.get_base_model() if isinstance(bare, PeftModel) else bare
    return base


def base_config(model: nn.Module) -> PreTrainedConfig:
    """Read the configuration of the base model."""
    config = getattr(base_model(model), "config", None)
    if not isinstance(config, PreTrainedConfig):
        raise LaloraError(f"{type(model).__name__} is no model of transformers: it has no configuration to go by")
    return config


def base_name(model: nn.Module) -> str:
    """Name the base model without telling where it lies on this machine: a hub id, or the name of a local folder."""
    name = str(base_config(model).name_or_path or "unnamed")
    cached = id_in_cache(Path(name))
    if cached is not None:
        return cached[0]
    return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name


def base_revision(model: nn.Module) -> str | None:
    """Look up the commit of a base model that came from the hub; None of a local folder."""
    config = base_config(model)
    cached = id_in_cache(Path(str(config.name_or_path or "")))
    found = cached[1] if cached is not None else getattr(config, "_commit_hash", None)
    return found if isinstance(found, str) else None


def lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """List the adapted modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def trainable_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name the tensors that fine-tuning moves."""
    bare = peft_model(model)
    adapter = bare.active_adapters[0]
    tensors = {
        normalised(name, adapter): parameter for name, parameter in bare.named_parameters() if parameter.requires_grad
    }
    if not tensors:
        raise LaloraError(f"adapter '{adapter}' has no trainable tensors: load it with is_trainable=True")
    return tensors


def adapter_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name the tensors that are trained; where none is, all those of the adapter, as after loading for inference."""
    bare = peft_model(model)
    if any(parameter.requires_grad for parameter in bare.parameters()):
        return trainable_tensors(bare)
    adapter = bare.active_adapters[0]
    named = {normalised(name, adapter): (name, parameter) for name, parameter in bare.named_parameters()}
    return {short: parameter for short, (name, parameter) in named.items() if short != name}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copy the trainable tensors to the CPU."""
    return {name: value.cpu().clone() for name, value in whole_named(trainable_tensors(model)).items()}


def linear_pairs(model: nn.Module) -> list[LinearPair]:
    """List the LoRA layers whose adapter is two linear modules that are called in the forward pass."""
    bare = peft_model(model)
    adapter = bare.active_adapters[0]
    pairs = []
    for name, layer in lora_layers(bare).items():
        if isinstance(layer, ParamWrapper) or adapter not in layer.lora_A:
            continue
        down, up = layer.lora_A[adapter], layer.lora_B[adapter]
        if isinstance(down, nn.Linear) and isinstance(up, nn.Linear):
            pairs.append(
                LinearPair(
                    name,
                    a_name(name),
                    b_name(name),
                    down,
                    up,
                    float(layer.scaling[adapter]),
                    adapter not in layer.lora_variant,
                )
            )
    return pairs


def save_without_card(model: PeftModel, folder: Path, **options: Any) -> None:
    """Write an adapter in PEFT's format, without PEFT's model card, which is a form that nobody filled in."""
    card = folder / "README.md"
    is_theirs = card.exists()
    model.save_pretrained(str(folder), **options)
    if not is_theirs:
        card.unlink(missing_ok=True)


def normalised(name: str, adapter: str) -> str:
    """Take the adapter's own name out: `…lora_A.default.weight` becomes `…lora_A.weight`."""
    parts = name.split(".")
    kept = [
        part
        for before, part in zip(["", *parts], parts, strict=False)
        if not (part == adapter and before.startswith(HOLDERS))
    ]
    return ".".join(kept)


def name_in_base(name: str) -> str:
    """Turn the name of a module or tensor in a PEFT model into its name in the base model; others stay as they are."""
    return name.removeprefix(_PREFIX)


def name_in_peft(name: str) -> str:
    """Turn the name of a module or tensor in a base model into its name in a PEFT model on it."""
    return f"{_PREFIX}{name}"


def linear_weight(layer: nn.Module) -> Tensor:
    """Look up the weight of a linear layer, (d_out, d_in) however the layer lays it out, in its own memory."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().T if isinstance(layer, Conv1D) else weight.detach()
