"""Tensors out of a file, believed only after a look: what a curvature is made of, or refused by name."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from lalora.errors import LaloraError

Part = TypeVar("Part")

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

LARGEST = 1e30
"""Most that a unit of displacement may cost: what is larger overflows in float32 when it is added up."""

_PROBES = 8
# Rounded to bfloat16, columns of 2 to 2,048 entries are off by up to 0.003 in length and 0.022 against a probe.
_ORTHONORMAL = 0.05


def require_names(tensors: Mapping[str, object], required: Collection[str], optional: Collection[str] = ()) -> None:
    """Refuse a set of tensors that lacks one or has one too many."""
    for name in required:
        if name not in tensors:
            raise LaloraError(f"tensor '{name}' is missing")
    for name in tensors:
        if name not in required and name not in optional:
            raise LaloraError(f"tensor '{name}' has no place there")


def named(name: str, rebuild: Callable[[Mapping[str, Tensor]], Part], tensors: Mapping[str, Tensor]) -> Part:
    """Rebuild a part of something, saying which part where it is refused."""
    try:
        return rebuild(tensors)
    except LaloraError as error:
        raise LaloraError(f"{name}: {error}") from error


def require_finite(name: str, tensor: Tensor, dims: int | None = None) -> Tensor:
    """Refuse a tensor that is not of finite floating-point numbers."""
    if tensor.dtype not in FLOATS:
        raise LaloraError(f"tensor '{name}' is of type {tensor.dtype}, which is not one of a Laplace")
    if dims is not None and tensor.dim() != dims:
        raise LaloraError(f"tensor '{name}' has {tensor.dim()} dimensions instead of {dims}")
    # Extremes are NaN where any entry is, and infinite where one is.
    if tensor.numel() and not all(math.isfinite(float(end)) for end in torch.aminmax(tensor)):
        raise LaloraError(f"tensor '{name}' is not finite")
    return tensor


def require_not_negative(name: str, tensor: Tensor, dims: int | None = None) -> Tensor:
    """Refuse a tensor that would reward a displacement, or cost more than can be added up."""
    require_finite(name, tensor, dims)
    if tensor.numel():
        least, most = torch.aminmax(tensor)
        if float(least) < 0:
            raise LaloraError(f"tensor '{name}' is negative somewhere, which no curvature is")
        if float(most) > LARGEST:
            raise LaloraError(f"tensor '{name}' reaches {float(most):.3g}, more than can be added up ({LARGEST:g})")
    return tensor


def require_countable(name: str, most: float) -> None:
    """Refuse a layer whose penalty cannot be added up."""
    if not most <= LARGEST:
        raise LaloraError(f"'{name}' costs up to {most:.3g} to move, more than can be added up ({LARGEST:g})")


def require_number(name: str, tensor: Tensor, least: float, most: float) -> float:
    """Read a number from `least` to `most`."""
    value = float(require_finite(name, tensor, 0))
    if not least <= value <= most:
        raise LaloraError(f"'{name}' is {value:g}, not a number from {least:g} to {most:g}")
    return value


def require_integers(name: str, tensor: Tensor, count: int, least: int, most: int) -> list[int]:
    """Read `count` whole numbers from `least` to `most`."""
    if tensor.dtype != torch.int64 or tuple(tensor.shape) != (count,):
        raise LaloraError(
            f"tensor '{name}' is {tensor.dtype} of shape {tuple(tensor.shape)} instead of {count} whole numbers"
        )
    values: list[int] = tensor.tolist()
    if not all(least <= value <= most for value in values):
        raise LaloraError(f"tensor '{name}' holds a number that is not from {least} to {most}")
    return values


def require_orthonormal(name: str, vectors: Tensor) -> Tensor:
    """Refuse columns that are not orthonormal, up to what storing them in bfloat16 does to them.

    QᵀQ z = z is asked of a few random z, which costs O(d·k) where QᵀQ would cost O(d·k²).
    """
    require_finite(name, vectors, 2)
    size, rank = vectors.shape
    if rank > size:
        raise LaloraError(f"tensor '{name}' has {rank} columns of {size} entries: they cannot be orthonormal")
    if rank:
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        # The file's author must not know where it will be looked at.
        generator = torch.Generator().manual_seed(secrets.randbits(63))
        probes = torch.randn(rank, _PROBES, generator=generator, dtype=wide.dtype)
        off = (wide.T @ (wide @ probes) - probes).abs().max()
        length = (torch.linalg.vector_norm(wide, dim=0) - 1).abs().max()
        if not (float(off) <= _ORTHONORMAL and float(length) <= _ORTHONORMAL):
            raise LaloraError(f"the columns of tensor '{name}' are not orthonormal")
    return vectors
