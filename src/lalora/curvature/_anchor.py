"""Where the displacement of one LoRA layer starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._checks import LARGEST, named, require_finite, require_integers, require_names, require_number
from lalora.curvature._flat import flat, grouped
from lalora.errors import LaloraError
from lalora.tensor_names import a_name, b_name


@dataclass(frozen=True)
class Anchor:
    """A₀, B₀ and s of one layer h = W₀x + s·B A x. A tensor that is zero everywhere is not kept.

    Attributes:
        a: A₀, (r, d_in); None where it is zero, as PEFT starts embeddings.
        b: B₀, (d_out, r); None where it is zero, as PEFT starts linear layers.
        scale: s = α/r, or α/√r for rsLoRA.
        shape: (d_out, r, d_in).
    """

    a: Float[Tensor, "r d_in"] | None
    b: Float[Tensor, "d_out r"] | None
    scale: float
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, a: Float[Tensor, "r d_in"], b: Float[Tensor, "d_out r"], scale: float) -> Self:
        """Keep A₀ and B₀, each as None where it is zero everywhere."""
        shape = (b.shape[0], a.shape[0], a.shape[1])
        return cls(a if bool(a.any()) else None, b if bool(b.any()) else None, scale, shape)

    @property
    def changes(self) -> bool:
        """Whether s·B₀A₀ is there at all: neither tensor is zero everywhere."""
        return self.a is not None and self.b is not None

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Copy to a device."""
        a = None if self.a is None else self.a.to(device, dtype)
        b = None if self.b is None else self.b.to(device, dtype)
        return replace(self, a=a, b=b)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""
        kept = {"a": self.a, "b": self.b}
        scale = {"scale": torch.tensor(self.scale, dtype=torch.float64), "shape": torch.tensor(self.shape)}
        return scale | {name: tensor for name, tensor in kept.items() if tensor is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned."""
        require_names(tensors, ("scale", "shape"), ("a", "b"))
        out, rank, into = require_integers("shape", tensors["shape"], 3, 1, 2**31)
        for name, wanted in (("a", (rank, into)), ("b", (out, rank))):
            if name in tensors and tuple(require_finite(name, tensors[name]).shape) != wanted:
                raise LaloraError(f"tensor '{name}' has shape {tuple(tensors[name].shape)} instead of {wanted}")
        scale = require_number("scale", tensors["scale"], -(LARGEST**0.5), LARGEST**0.5)
        return cls(tensors.get("a"), tensors.get("b"), scale, (out, rank, into))

    def most(self) -> float:
        """Bound by s²(1 + ‖A₀‖² + ‖B₀‖²) how much a unit of displacement changes the weight, squared."""
        starts = [tensor.double().square().sum() for tensor in (self.a, self.b) if tensor is not None]
        return self.scale**2 * (1 + sum(float(start) for start in starts))


def anchors_from(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, int]]) -> dict[str, Anchor]:
    """Rebuild the anchors out of a file: none where the curvature belongs to a base model, else one for each layer."""
    anchors = {layer: named(layer, Anchor.from_tensors, part) for layer, part in grouped(tensors).items()}
    if anchors and anchors.keys() != shapes.keys():
        raise LaloraError("the layers with a start are not those with a curvature")
    return fitting(anchors, shapes)


def shapes_of(anchors: Mapping[str, Anchor]) -> dict[str, tuple[int, ...]]:
    """Look up the shapes of A and B of every layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, anchor in anchors.items():
        out, rank, into = anchor.shape
        shapes |= {a_name(layer): (rank, into), b_name(layer): (out, rank)}
    return shapes


def fitting(anchors: Mapping[str, Anchor], shapes: Mapping[str, tuple[int, int]]) -> dict[str, Anchor]:
    """Sort anchors by layer; one of a layer that the curvature does not know, or knows otherwise, is refused."""
    for layer, anchor in anchors.items():
        out, _, into = anchor.shape
        if layer not in shapes:
            raise LaloraError(f"the adapter changes layer '{layer}', of which this curvature knows nothing")
        if shapes[layer] != (out, into):
            raise LaloraError(
                f"layer '{layer}' is {out}×{into} here and {shapes[layer][0]}×{shapes[layer][1]} in this curvature"
            )
    return dict(sorted(anchors.items()))


def same_start(starts: Sequence[Mapping[str, Anchor]]) -> None:
    """Check that several curvatures measure from one point."""
    first = flat({layer: anchor.tensors() for layer, anchor in starts[0].items()})
    for other in starts[1:]:
        tensors = flat({layer: anchor.tensors() for layer, anchor in other.items()})
        if tensors.keys() != first.keys() or not all(torch.equal(tensors[name], first[name]) for name in first):
            raise LaloraError("curvatures that start from different adapters cannot be averaged")


def homes(anchors: Mapping[str, Anchor], devices: Mapping[str, torch.device]) -> dict[str, torch.device]:
    """Find the device of each layer of which a tensor is named."""
    found = {}
    for layer in anchors:
        for name in (a_name(layer), b_name(layer)):
            if name in devices:
                found[layer] = devices[name]
    return found
