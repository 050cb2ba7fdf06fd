"""Where a trained change lives: in an adapter, or in the weights themselves."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import linear_weight, name_in_base, save_without_card
from lalora.errors import LaloraError
from lalora.softening import _adapter


class Carrier(Protocol):
    """What a front needs of the model that was softened."""

    @property
    def model(self) -> nn.Module:
        """The model."""
        ...

    def put(self, model: nn.Module, changes: Mapping[str, Any]) -> None:
        """Write changes of weights by layer into a model."""
        ...

    def unchanged(self, model: nn.Module) -> AbstractContextManager[None]:
        """Bring the weights of a model back at the end."""
        ...

    def scaled(self, alpha: float) -> AbstractContextManager[None]:
        """Multiply the trained change for as long as the context lasts."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model's change as it is now."""
        ...


@dataclass(frozen=True)
class OfAdapter:
    """The active LoRA adapter of a PEFT model.

    Attributes:
        model: The model.
    """

    model: PeftModel

    def put(self, model: nn.Module, changes: Mapping[str, Any]) -> None:
        """Write softened factors."""
        _adapter.put(model, changes)

    def unchanged(self, model: nn.Module) -> AbstractContextManager[None]:
        """Bring the adapter back at the end."""
        return _adapter.unchanged(model)

    def scaled(self, alpha: float) -> AbstractContextManager[None]:
        """Scale the adapter."""
        return _adapter.scaled(self.model, alpha)

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        save_without_card(self.model, folder, selected_adapters=[self.model.active_adapters[0]])


@dataclass(frozen=True)
class OfWeights:
    """A full fine-tuning, beside its base.

    Attributes:
        model: As it was trained.
        base: The base model.
    """

    model: nn.Module
    base: nn.Module

    @torch.no_grad()
    def put(self, model: nn.Module, changes: Mapping[str, Tensor]) -> None:
        """Set a model to the base with other linear weights."""
        base, own = self.base.state_dict(), model.state_dict()
        if {name: tensor.shape for name, tensor in base.items()} != {name: t.shape for name, t in own.items()}:
            raise LaloraError("this front is of another model: its weights have other names or shapes")
        for name, tensor in own.items():
            tensor.copy_(base[name])
        for layer, change in changes.items():
            weight = weight_of(model.get_submodule(name_in_base(layer)))
            weight.copy_(weight.double() + change.to(weight.device, torch.float64))

    @contextmanager
    def unchanged(self, model: nn.Module) -> Generator[None, None, None]:
        """Bring all weights back at the end."""
        kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    tensor.copy_(kept[name])

    @contextmanager
    def scaled(self, alpha: float) -> Generator[None, None, None]:
        """Interpolate every weight between base and model, as WiSE-FT does."""
        base = self.base.state_dict()
        with self.unchanged(self.model):
            with torch.no_grad():
                for name, tensor in self.model.state_dict().items():
                    if tensor.is_floating_point() and alpha != 1:
                        tensor.copy_(base[name].double() + alpha * (tensor.double() - base[name].double()))
            yield

    def save(self, folder: Path) -> None:
        """Write the model as a folder for `from_pretrained`."""
        self.model.save_pretrained(str(folder))  # type: ignore[operator]


def weight_of(layer: nn.Module) -> Float[Tensor, "d_out d_in"]:
    """Look up the weight of a linear layer that is not quantised."""
    weight = linear_weight(layer)
    if not weight.is_floating_point():
        raise LaloraError("a full fine-tuning is softened in floating point: load both models without quantisation")
    return weight
