"""Starts that move a part of the weights into the adapter, as MiLoRA and CorDA do."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lalora.adapter import LinearPair, linear_pairs, peft_model
from lalora.errors import LaloraError
from lalora.methods._base_weights import base_weight, put_base_weight, require_floating, require_plain
from lalora.methods.base import Method, Sources


@dataclass(eq=False)
class ReplacedStart(Method):
    """Plain LoRA that starts at s·B₀A₀ ≠ 0, a part of W, with the rest W − s·B₀A₀ in the place of W.

    Switched off or scaled, the adapter goes back to its start and not to zero, so that the base that drift is measured
    from stays the untouched model, up to rounding. The kept adapter is a plain LoRA of rank 2r on the untouched base:
    s(BA − B₀A₀).
    """

    own_start = True
    quantised_base = False
    # Whatever is measured from the start is measured from this one.
    turn = -2
    grid = (5e-4, 1e-3, 2e-3)

    def __post_init__(self) -> None:
        """Check every option, and know of no start yet."""
        super().__post_init__()
        self._starts: dict[str, tuple[Tensor, Tensor]] = {}
        self._clean: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    @abstractmethod
    def choose(self, model: PeftModel, pairs: list[LinearPair], sources: Sources) -> None:
        """Write A₀ and B₀ into the adapter."""

    @torch.no_grad()
    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Split every adapted weight into adapter and residual."""
        adapted = peft_model(model)
        pairs = linear_pairs(adapted)
        require_plain(adapted, pairs, self.name)
        config = adapted.peft_config[adapted.active_adapters[0]]
        if getattr(config, "rank_pattern", None) or getattr(config, "alpha_pattern", None):
            raise LaloraError(
                f"method '{self.name}' needs one rank and one alpha: leave rank_pattern and alpha_pattern out"
            )
        require_floating(adapted, pairs, self.name)
        for pair in pairs:
            rank, shape = pair.down.weight.shape[0], tuple(base_weight(adapted, pair).shape)
            if rank > min(shape):
                raise LaloraError(
                    f"method '{self.name}': rank {rank} is more than '{pair.layer}' has, a weight of {shape}"
                )
        self._clean = {pair.layer: base_weight(adapted, pair) for pair in pairs}
        self.choose(adapted, pairs, sources)
        for pair in pairs:
            a, b = start = (pair.down.weight.detach().clone(), pair.up.weight.detach().clone())
            self._starts[pair.layer] = start
            clean = self._clean[pair.layer]
            rest = clean.float() - pair.scaling * (b.float() @ a.float())
            put_base_weight(adapted, pair, rest.to(clean.dtype))
            layer = adapted.get_submodule(pair.layer)
            hook = partial(self._towards_start, adapted.active_adapters[0], pair.scaling, start)
            self._hooks.append(layer.register_forward_hook(hook))

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put the untouched weights back, bit for bit, under an adapter that changes nothing: B = 0."""
        adapted = peft_model(model)
        for pair in linear_pairs(adapted):
            put_base_weight(adapted, pair, self._clean[pair.layer])
            pair.up.weight.zero_()
        for hook in self._hooks:
            hook.remove()

    def save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write the adapter as a plain LoRA of rank 2r on the untouched base: [B, −B₀]·[A; A₀] with the same s."""
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
