"""What the three L2 penalties share: a penalty that knows no curvature."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lalora import processes
from lalora.adapter import snapshot, trainable_tensors
from lalora.curvature import Curvature
from lalora.engines import FSDP2, ZERO, add_to_gradients, whole_named
from lalora.errors import LaloraError
from lalora.files import parse_json, read_small, write_atomically
from lalora.methods.base import Method, Sources, Strength

_START = "start.json"


@dataclass(eq=False)
class SquaredDistance(Method):
    """Target loss + λ·(squared distance from the start)."""

    knob = "strength"
    grid = (0.001, 0.01, 0.1)

    engines = (FSDP2, ZERO)

    strength: Strength = 1.0

    @abstractmethod
    def distance(self, model: nn.Module, start: Mapping[str, Tensor]) -> Curvature:
        """Build a curvature whose q(Δ) is the squared distance from a start that the model is at."""

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Remember the start."""
        tensors = trainable_tensors(model)
        self._start = {name: start.to(tensors[name].device) for name, start in snapshot(model).items()}
        devices = {name: tensor.device for name, tensor in tensors.items()}
        wide = torch.promote_types(next(iter(tensors.values())).dtype, torch.float32)
        self._distance = self.distance(model, self._start).used_at(devices, wide)

    @torch.no_grad()
    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Add the gradient of λ·q(Δ)."""
        if self.strength_now == 0:
            return
        tensors = trainable_tensors(model)
        _, gradient = self._distance.value_and_grad(self._delta(tensors))
        moved = [tensors[name] for name in gradient]
        add_to_gradients(moved, list(gradient.values()), 2 * self.strength_now * loss_scale)

    @torch.no_grad()
    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure the `penalty` in nats."""
        return {"penalty": self.strength_now * float(self._distance.quadratic(self._delta(trainable_tensors(model))))}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Keep a hash of the start."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _START, json.dumps({"start": self._hash()}).encode())

    def load(self, model: nn.Module, folder: Path) -> None:
        """Refuse a checkpoint of a run that started elsewhere, as a script does that seeds nothing."""
        try:
            start = parse_json(read_small(folder / _START))["start"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LaloraError(f"{folder / _START} is damaged: resume from another checkpoint") from error
        if start != self._hash():
            raise LaloraError(
                f"the adapter here did not start where that of {folder.parent} did, which '{self.name}' measures from: "
                "seed its start, as by transformers.set_seed(0) before get_peft_model"
            )

    def _hash(self) -> str:
        return processes.digest(self._start[name] for name in sorted(self._start))

    def _delta(self, tensors: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        here = whole_named(tensors)
        wide = {name: torch.promote_types(tensor.dtype, torch.float32) for name, tensor in here.items()}
        return {name: here[name].to(wide[name]) - start for name, start in self._start.items()}
