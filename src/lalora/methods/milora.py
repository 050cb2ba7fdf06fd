"""MiLoRA (Wang et al., 2025, arXiv 2406.09044): start from the minor singular components of the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lalora.adapter import LinearPair, linear_pairs, lora_layers, peft_model
from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.methods._base_weights import base_weight, require_floating
from lalora.methods.base import Method


class Milora(Method):
    """Plain LoRA from another start: s·B₀A₀ is the part of W in its r smallest singular triples, the base is the rest.

    With W = UΣVᵀ, B₀ = U_r√Σ_r/√s and A₀ = √Σ_rV_rᵀ/√s, and W − s·B₀A₀ in the place of W. Switched off or scaled, the
    adapter goes back to its start and not to zero, so that the base that drift is measured from stays the untouched
    model, up to rounding. The kept adapter is a plain LoRA of rank 2r on the untouched base: s(BA − B₀A₀).
    """

    name = "milora"
    own_start = True
    label = "MiLoRA"
    citation = "Wang et al., 2025"
    needs = "an SVD of every adapted weight; these weights twice in memory, not quantised; plain linear LoRA"
    knob = "learning_rate"
    grid = (5e-4, 1e-3, 2e-3)

    def __init__(self) -> None:
        """There is nothing to choose."""
        self._starts: dict[str, tuple[Tensor, Tensor]] = {}
        self._clean: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    @torch.no_grad()
    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Split every adapted weight into adapter and residual.

        Args:
            model: The PEFT model at its usual start, B = 0.
            proxies: Not looked at.

        Raises:
            LaloraError: If the adapter is no plain linear LoRA, a weight is quantised, or the rank exceeds a weight's.
        """
        adapted = peft_model(model)
        pairs = linear_pairs(adapted)
        if len(pairs) < len(lora_layers(adapted)) or not all(pair.plain for pair in pairs):
            raise LaloraError("method 'milora' needs an adapter of plain linear LoRA layers alone")
        config = adapted.peft_config[adapted.active_adapters[0]]
        if getattr(config, "rank_pattern", None) or getattr(config, "alpha_pattern", None):
            raise LaloraError("method 'milora' needs one rank and one alpha: leave rank_pattern and alpha_pattern out")
        require_floating(adapted, pairs, self.name)
        for pair in pairs:
            rank, shape = pair.down.weight.shape[0], tuple(base_weight(adapted, pair).shape)
            if rank > min(shape):
                raise LaloraError(f"method 'milora': rank {rank} is more than '{pair.layer}' has, a weight of {shape}")
        for pair in pairs:
            weight = base_weight(adapted, pair)
            a, b = _minor(weight, pair)
            pair.down.weight.copy_(a)
            pair.up.weight.copy_(b)
            start = (pair.down.weight.detach().clone(), pair.up.weight.detach().clone())
            self._starts[pair.layer] = start
            self._clean[pair.layer] = weight.data
            weight.data = (weight.float() - pair.scaling * (start[1].float() @ start[0].float())).to(weight.dtype)
            layer = adapted.get_submodule(pair.layer)
            hook = partial(self._towards_start, adapted.active_adapters[0], pair.scaling, start)
            self._hooks.append(layer.register_forward_hook(hook))

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put the untouched weights back, bit for bit, under an adapter that changes nothing: B = 0.

        Args:
            model: The model that was prepared.
        """
        adapted = peft_model(model)
        for pair in linear_pairs(adapted):
            base_weight(adapted, pair).data = self._clean[pair.layer]
            pair.up.weight.zero_()
        for hook in self._hooks:
            hook.remove()

    def save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write the adapter as a plain LoRA of rank 2r on the untouched base: [B, −B₀]·[A; A₀] with the same s.

        Args:
            model: The PEFT model.
            folder: Made where missing.
        """
        super().save_adapter(model, folder)
        tensors = {}
        for pair in linear_pairs(model):
            a0, b0 = self._starts[pair.layer]
            tensors[pair.a] = torch.cat([pair.down.weight.detach(), a0]).cpu()
            tensors[pair.b] = torch.cat([pair.up.weight.detach(), -b0], dim=1).cpu()
        safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = copy.copy(model.peft_config[model.active_adapters[0]])
        assert isinstance(config, LoraConfig)
        scaling = linear_pairs(model)[0].scaling
        config.r, config.lora_alpha = 2 * config.r, scaling * 2 * config.r  # type: ignore[assignment]  # as PEFT itself
        config.use_rslora, config.inference_mode = False, True
        config.save_pretrained(str(folder))

    @staticmethod
    def _towards_start(
        adapter: str,
        scaling: float,
        start: tuple[Tensor, Tensor],
        layer: Any,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> Tensor | None:
        missing = scaling if layer.disable_adapters else scaling - layer.scaling[adapter]
        if missing == 0:
            return None
        a0, b0 = start
        # As PEFT adds it: one rounding, so that nothing has drifted at the start.
        return (output + F.linear(F.linear(inputs[0].to(a0.dtype), a0), b0) * missing).to(output.dtype)


def _minor(weight: Tensor, pair: LinearPair) -> tuple[Tensor, Tensor]:
    """Return A₀ and B₀ from the r smallest singular triples."""
    rank = pair.down.weight.shape[0]
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    roots = (values[-rank:] / pair.scaling).sqrt()
    return roots[:, None] * right[-rank:], left[:, -rank:] * roots
