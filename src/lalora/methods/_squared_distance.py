"""What the three L2 penalties share: a charge that knows no curvature."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lalora.adapter import snapshot, trainable_tensors
from lalora.curvature import Curvature
from lalora.fisher import Batch
from lalora.laplace import require_non_negative
from lalora.methods.base import Method


class SquaredDistance(Method):
    """Target loss + λ·(squared distance from the start)."""

    def __init__(self, strength: float = 1.0) -> None:
        """Choose the strength.

        Args:
            strength: λ ≥ 0.

        Raises:
            LaloraError: If it is negative or not finite.
        """
        require_non_negative("strength", strength)
        self.strength = strength

    @abstractmethod
    def distance(self, model: nn.Module, start: Mapping[str, Tensor]) -> Curvature:
        """Build the squared distance from the start.

        Args:
            model: The PEFT model at its start.
            start: Its trainable tensors.

        Returns:
            A curvature whose q(Δ) is the squared distance.
        """

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Remember the start.

        Args:
            model: The PEFT model at its start.
            proxies: Not looked at.
        """
        tensors = trainable_tensors(model)
        self._start = {name: start.to(tensors[name].device) for name, start in snapshot(model).items()}
        devices = {name: tensor.device for name, tensor in tensors.items()}
        wide = torch.promote_types(next(iter(tensors.values())).dtype, torch.float32)
        self._distance = self.distance(model, self._start).to(devices, wide)

    @torch.no_grad()
    def after_backward(self, model: nn.Module, loss_scale: float) -> None:
        """Add the gradient of λ·q(Δ).

        Args:
            model: The PEFT model.
            loss_scale: Factor that the gradients carry.
        """
        if self.strength == 0:
            return
        tensors = trainable_tensors(model)
        _, gradient = self._distance.value_and_grad(self._delta(tensors))
        for name, block in gradient.items():
            scaled = (block * (2 * self.strength * loss_scale)).to(tensors[name].dtype)
            grad = tensors[name].grad
            tensors[name].grad = scaled if grad is None else grad.add_(scaled)

    @torch.no_grad()
    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure the penalty.

        Args:
            model: The PEFT model.

        Returns:
            `penalty` in nats.
        """
        return {"penalty": self.strength * float(self._distance.quadratic(self._delta(trainable_tensors(model))))}

    def _delta(self, tensors: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        wide = {name: torch.promote_types(tensor.dtype, torch.float32) for name, tensor in tensors.items()}
        return {name: tensors[name].detach().to(wide[name]) - start for name, start in self._start.items()}
