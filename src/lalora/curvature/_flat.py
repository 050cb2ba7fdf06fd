"""Helpers for mappings of tensors: slash-separated names for files, and sums over layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lalora.errors import LaloraError


def flat(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Name the tensors of several groups `group/name`."""
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Undo `flat`."""
    groups: dict[str, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        group, slash, name = full.partition("/")
        if not slash:
            raise LaloraError(f"tensor '{full}' has no place there")
        groups.setdefault(group, {})[name] = tensor
    return dict(sorted(groups.items()))


def total(terms: Sequence[Tensor]) -> Tensor:
    """Add scalars on the device of the first; none add up to zero."""
    if not terms:
        return torch.zeros(())
    if len(terms) == 1:
        return terms[0]
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def in_full_precision(devices: Iterable[torch.device]) -> AbstractContextManager[object]:
    """Keep a caller's autocast from multiplying matrices in fewer bits than they are given in."""
    for device in devices:
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
