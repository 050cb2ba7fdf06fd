"""Flat-LoRA (Li et al., 2025, arXiv 2409.14396): train under random noise on the merged weights."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from typing_extensions import Doc

from lalora.adapter import LinearPair, linear_pairs
from lalora.errors import LaloraError
from lalora.methods._base_weights import base_weight, put_base_weight, require_floating
from lalora.methods.base import Method, Sources
from lalora.options import NonNegative, Seed


@dataclass(eq=False)
class FlatLora(Method):
    """Takes the gradients of each step at W + ε in the place of W, the merged weight being W' = W + s·BA.

    Row i of ε is normal with standard deviation σ·‖W'ᵢ‖/√d_in, so that E‖ε‖²_F = σ²‖W'‖²_F, and σ grows from 0 to ρ as
    ρ·½(1 − cos πt/T) over the T steps of a run. One ε serves all micro-batches of a step. Only a weight's storage is
    swapped, and swapped back after the backward pass: the base itself is never written to. While a step lasts the
    adapted weights exist twice. In bfloat16 noise below σ of about 0.005 is lost in rounding.
    """

    name = "flat-lora"
    label = "Flat-LoRA"
    citation = "Li et al., 2025"
    needs = "adapted weights twice in memory; plain linear LoRA"
    quantised_base = False
    knob = "rho"
    grid = (0.01, 0.05, 0.1)

    # What comes after acts on the base weights that it puts back.
    turn = -1

    rho: Annotated[NonNegative, Doc("Noise on the weights, as a share of their norm; 0 is plain LoRA.")] = 0.05
    seed: Annotated[Seed, Doc("Of the noise, which also depends on step and layer.")] = 0

    def __post_init__(self) -> None:
        """Check every option, and know of no weights yet."""
        super().__post_init__()
        self._pairs: list[LinearPair] = []
        self._clean: list[tuple[LinearPair, Tensor]] = []

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Find the weights to perturb."""
        self._pairs = [pair for pair in linear_pairs(model) if pair.plain]
        if not self._pairs:
            raise LaloraError("method 'flat-lora' needs plain linear LoRA layers, and the adapter has none")
        require_floating(model, self._pairs, self.name)

    @torch.no_grad()
    def before_forward(self, model: nn.Module, step: int, steps: int) -> None:
        """Swap in the noisy weights."""
        sigma = self.rho * 0.5 * (1 - math.cos(math.pi * step / steps))
        if sigma == 0:
            return
        for pair in self._pairs:
            weight = base_weight(model, pair)
            self._clean.append((pair, weight))
            put_base_weight(model, pair, (weight.float() + self._noise(pair, weight, sigma, step)).to(weight.dtype))

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Swap the base weights back in."""
        self.abort_step(model)

    def abort_step(self, model: nn.Module) -> None:
        """Swap the base weights back in, whatever came of the step."""
        for pair, clean in self._clean:
            put_base_weight(model, pair, clean)
        self._clean = []

    def _noise(self, pair: LinearPair, weight: Tensor, sigma: float, step: int) -> Tensor:
        digest = hashlib.sha256(f"{self.seed}/{step}/{pair.layer}".encode()).digest()
        generator = torch.Generator(weight.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        merged = weight.float() + pair.scaling * (pair.up.weight.float() @ pair.down.weight.float())
        row: Tensor = torch.linalg.vector_norm(merged, dim=1, keepdim=True) * (sigma / math.sqrt(weight.shape[1]))
        return row * torch.randn(weight.shape, generator=generator, device=weight.device)
