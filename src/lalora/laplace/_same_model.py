"""Whether a Laplace belongs to a model: tensors, LoRA settings, base weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from peft import PeftModel
from torch import nn

from lalora.adapter import adapter_tensors, base_model, lora_layers, name_in_base, peft_model
from lalora.engines import whole_shape
from lalora.errors import LaloraError
from lalora.laplace._lora_settings import lora_settings
from lalora.laplace._provenance import Provenance
from lalora.laplace._same_base import Fingerprint, fingerprint, require_same_base


def require_same_tensors(shapes: Mapping[str, tuple[int, ...]], model: nn.Module) -> None:
    """Refuse an adapter whose tensors have other names or shapes than those that were fitted."""
    found = {name: whole_shape(parameter) for name, parameter in adapter_tensors(model).items()}
    for name, shape in shapes.items():
        if name not in found:
            raise LaloraError(f"the adapter here has no trainable tensor '{name}', which this Laplace was fitted on")
        if found[name] != shape:
            raise LaloraError(f"tensor '{name}' has shape {found[name]} here and {shape} in this Laplace")
    extra = sorted(set(found) - set(shapes))
    if extra:
        raise LaloraError(f"the adapter here has a trainable tensor '{extra[0]}', which this Laplace never saw")


def require_same_model(provenance: Provenance, model: nn.Module) -> None:
    """Refuse a model whose LoRA settings or base differ from those of the fit, by the first that does."""
    found = lora_settings(model)
    for key, value in provenance.lora.items():
        if found.get(key) != value:
            raise LaloraError(
                f"this Laplace was fitted with LoRA {key}={value!r}, and the adapter here has {key}={found[key]!r}"
            )
    require_same_base(provenance.fingerprint, fingerprint_of(model), provenance.base_model)


def require_fitted_on(provenance: Provenance, base: nn.Module) -> None:
    """Refuse a base model without an adapter that lacks a layer of the fit, or has other weights."""
    require_same_base(provenance.fingerprint, fingerprint_again(provenance, base), provenance.base_model)


def fingerprint_again(provenance: Provenance, model: nn.Module) -> Fingerprint:
    """Summarise the base weights of a model, with or without an adapter, at the layers of a fit."""
    modules = dict(base_model(model).named_modules())
    layers = {}
    for name in provenance.fingerprint["layers"]:
        module = modules.get(name_in_base(name))
        if module is None:
            raise LaloraError(
                f"this Laplace was fitted on '{provenance.base_model}', and the model here has no module '{name}'"
            )
        layers[name] = module
    return fingerprint(model, layers)


def fingerprint_of(model: nn.Module) -> Fingerprint:
    """Summarise the base weights under an adapter."""
    bare = peft_model(model)
    return fingerprint(bare, adapted_layers(bare))


def adapted_layers(model: PeftModel) -> dict[str, nn.Module]:
    """List the adapted modules by their names."""
    return {name: cast("nn.Module", layer) for name, layer in lora_layers(model).items()}
