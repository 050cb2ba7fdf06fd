"""Flat-LoRA (Li et al., 2025, arXiv 2409.14396): train under random noise on the merged weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lalora.adapter import LinearPair, linear_pairs
from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.laplace import require_non_negative
from lalora.methods._base_weights import base_weight, put_base_weight, require_floating
from lalora.methods.base import Method


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

    def __init__(self, rho: float = 0.05, *, seed: int = 0) -> None:
        """Choose the noise.

        Args:
            rho: ρ ≥ 0; 0 is plain LoRA.
            seed: Of the noise, which also depends on step and layer.

        Raises:
            LaloraError: If ρ is negative or not finite.
        """
        require_non_negative("rho", rho)
        self.rho = rho
        self.seed = seed
        self._pairs: list[LinearPair] = []
        self._clean: list[tuple[LinearPair, Tensor]] = []

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Find the weights to perturb.

        Args:
            model: The PEFT model at its start.
            proxies: Not looked at.

        Raises:
            LaloraError: If a base weight is quantised, or the adapter changes no plain linear layer.
        """
        self._pairs = [pair for pair in linear_pairs(model) if pair.plain]
        if not self._pairs:
            raise LaloraError("method 'flat-lora' needs plain linear LoRA layers, and the adapter has none")
        require_floating(model, self._pairs, self.name)

    @torch.no_grad()
    def before_forward(self, model: nn.Module, step: int, steps: int) -> None:
        """Swap in the noisy weights.

        Args:
            model: The PEFT model.
            step: Optimizer steps done so far.
            steps: T, optimizer steps of the whole run.
        """
        sigma = self.rho * 0.5 * (1 - math.cos(math.pi * step / steps))
        if sigma == 0:
            return
        for pair in self._pairs:
            weight = base_weight(model, pair)
            self._clean.append((pair, weight))
            put_base_weight(model, pair, (weight.float() + self._noise(pair, weight, sigma, step)).to(weight.dtype))

    def after_backward(self, model: nn.Module, loss_scale: float) -> None:
        """Swap the base weights back in.

        Args:
            model: The PEFT model.
            loss_scale: Factor that the gradients carry.
        """
        for pair, clean in self._clean:
            put_base_weight(model, pair, clean)
        self._clean = []

    def _noise(self, pair: LinearPair, weight: Tensor, sigma: float, step: int) -> Tensor:
        digest = hashlib.sha256(f"{self.seed}/{step}/{pair.layer}".encode()).digest()
        generator = torch.Generator(weight.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        merged = weight.float() + pair.scaling * (pair.up.weight.float() @ pair.down.weight.float())
        row: Tensor = torch.linalg.vector_norm(merged, dim=1, keepdim=True) * (sigma / math.sqrt(weight.shape[1]))
        return row * torch.randn(weight.shape, generator=generator, device=weight.device)
