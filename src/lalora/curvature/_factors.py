"""The two Kronecker factors of every adapted layer, from which every Kronecker curvature is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._checks import named, require_integers, require_names
from lalora.curvature._factor import Factor
from lalora.curvature._flat import flat, grouped
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Factors:
    """X, the second moment of a layer's inputs, and G, that of the gradients at its outputs.

    Attributes:
        inputs: X by key. Layers that read the same input (q, k, v; gate, up) share one.
        outputs: G by layer.
        keys: Key of X by layer: the first layer that shares it.
    """

    inputs: Mapping[str, Factor]
    outputs: Mapping[str, Factor]
    keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, inputs: Mapping[str, Factor], outputs: Mapping[str, Factor], keys: Mapping[str, str] | None = None
    ) -> Self:
        """Put the factors in a fixed order; a layer without a key has an X of its own, under its own name."""
        given = {layer: (keys or {}).get(layer, layer) for layer in sorted(outputs)}
        # A key is the first layer that has it, so that it does not depend on which other layers were looked at.
        first = {key: layer for layer, key in reversed(given.items())}
        found = {layer: first[key] for layer, key in given.items()}
        used = {first[key]: inputs[key] for key in sorted(first, key=first.__getitem__)}
        return cls(used, {layer: outputs[layer] for layer in found}, found)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in a fixed order."""
        return tuple(self.outputs)

    def x(self, layer: str) -> Factor:
        """Look up X, (d_in, d_in)."""
        return self.inputs[self.keys[layer]]

    def g(self, layer: str) -> Factor:
        """Look up G, (d_out, d_out)."""
        return self.outputs[layer]

    def shape(self, layer: str) -> tuple[int, int]:
        """Look up the shape of a layer's weight."""
        return self.g(layer).size, self.x(layer).size

    def restricted(self, layers: Collection[str]) -> Self:
        """Keep some layers."""
        return self.of(self.inputs, {layer: self.g(layer) for layer in layers}, self.keys)

    def scaled(self, factor: float) -> Self:
        """Multiply every G, and so every product with X."""
        return replace(self, outputs={layer: g.scaled(factor) for layer, g in self.outputs.items()})

    def truncated(self, rank: int | None = None, keep: float | None = None) -> Self:
        """Truncate every X and G."""
        inputs = {key: x.truncated(rank, keep) for key, x in self.inputs.items()}
        return replace(self, inputs=inputs, outputs={name: g.truncated(rank, keep) for name, g in self.outputs.items()})

    @classmethod
    def mean(cls, parts: Sequence[Self], weights: Sequence[float] | None = None) -> Self:
        """Average each factor over the parts (paper, Eq. 36); the mean of products is another thing."""
        first = parts[0]
        if any(part.keys != first.keys for part in parts):
            raise LaloraError("Kronecker factors of different layers cannot be averaged")
        shares = [1 / len(parts)] * len(parts) if weights is None else weights
        inputs = {key: Factor.combined([part.inputs[key] for part in parts], shares) for key in first.inputs}
        outputs = {name: Factor.combined([part.outputs[name] for part in parts], shares) for name in first.outputs}
        return cls(inputs, outputs, first.keys)

    def no_larger_than(self, parts: Sequence[Self]) -> Self:
        """Truncate each factor to the most eigenvectors that it has in any of the parts."""
        inputs = {
            key: x.truncated(max(1, *(part.inputs[key].rank for part in parts))) for key, x in self.inputs.items()
        }
        outputs = {
            name: g.truncated(max(1, *(part.g(name).rank for part in parts))) for name, g in self.outputs.items()
        }
        return replace(self, inputs=inputs, outputs=outputs)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the factors to where the layers lie; a shared X is copied once a device."""
        home: dict[str, torch.device] = {}
        inputs: dict[str, Factor] = {}
        keys: dict[str, str] = {}
        for layer, key in self.keys.items():
            device = devices[layer]
            keys[layer] = key if home.setdefault(key, device) == device else f"{key}@{device}"
            if keys[layer] not in inputs:
                inputs[keys[layer]] = self.inputs[key].to(device, dtype)
        outputs = {layer: g.to(devices[layer], dtype) for layer, g in self.outputs.items()}
        return self.of(inputs, outputs, keys)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""
        order = sorted(self.inputs)
        return {
            "keys": torch.tensor([order.index(self.keys[layer]) for layer in sorted(self.keys)], dtype=torch.int64),
            **{f"X/{name}": tensor for name, tensor in flat({k: x.tensors() for k, x in self.inputs.items()}).items()},
            **{f"G/{name}": tensor for name, tensor in flat({k: g.tensors() for k, g in self.outputs.items()}).items()},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned."""
        parts = grouped({name: tensor for name, tensor in tensors.items() if name != "keys"})
        require_names({name.split("/")[0]: tensor for name, tensor in tensors.items()}, ("keys",), ("X", "G"))
        inputs = {
            key: named(f"X of {key}", Factor.from_tensors, part) for key, part in grouped(parts.get("X", {})).items()
        }
        outputs = {
            layer: named(f"G of {layer}", Factor.from_tensors, part)
            for layer, part in grouped(parts.get("G", {})).items()
        }
        order = list(inputs)
        numbers = require_integers("keys", tensors["keys"], len(outputs), 0, len(inputs) - 1)
        if set(numbers) != set(range(len(inputs))):
            raise LaloraError("a factor X belongs to no layer")
        return cls.of(inputs, outputs, {name: order[number] for name, number in zip(outputs, numbers, strict=True)})
