"""An L2 penalty on B alone: what LaLoRA at B = 0 would charge if it knew no curvature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lalora.adapter import snapshot, trainable_tensors
from lalora.fisher import Batch
from lalora.laplace import require_non_negative
from lalora.methods.base import Method


class L2B(Method):
    """Target loss + λ‖B − B₀‖², B₀ being the start.

    The paper's L2 baseline charges A too. LaLoRA never does at B = 0, so this is the ablation that tells whether
    curvature or sparing A does the work.
    """

    name = "l2-b"

    def __init__(self, strength: float = 1.0) -> None:
        """Choose the strength.

        Args:
            strength: λ ≥ 0.

        Raises:
            LaloraError: If it is negative or not finite.
        """
        require_non_negative("strength", strength)
        self.strength = strength
        self._start: dict[str, Tensor] = {}

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Remember B₀.

        Args:
            model: The PEFT model at its start.
            proxies: Not looked at.
        """
        tensors = trainable_tensors(model)
        self._start = {name: start.to(tensors[name]) for name, start in snapshot(model).items() if "lora_B" in name}

    @torch.no_grad()
    def after_backward(self, model: nn.Module, loss_scale: float) -> None:
        """Add 2λ(B − B₀) to the gradients.

        Args:
            model: The PEFT model.
            loss_scale: Factor that the gradients carry.
        """
        for parameter, moved in self._moved(model):
            gradient = moved * (2 * self.strength * loss_scale)
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

    @torch.no_grad()
    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure the penalty.

        Args:
            model: The PEFT model.

        Returns:
            `penalty` in nats.
        """
        return {"penalty": self.strength * sum(float(moved.square().sum()) for _, moved in self._moved(model))}

    def _moved(self, model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
        tensors = trainable_tensors(model)
        return [(tensors[name], tensors[name].detach() - start) for name, start in self._start.items()]
