"""The inner product of tensors that lie in pieces."""

from collections.abc import Sequence

import torch
from torch import Tensor


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Compute the inner product of two lists of tensors.

    Args:
        left: Tensors, at least one.
        right: Tensors of the same shapes on the same devices.

    Returns:
        A scalar on the device of the first.
    """
    device = left[0].device
    terms = [torch.dot(a.reshape(-1), b.reshape(-1)).to(device) for a, b in zip(left, right, strict=True)]
    return torch.stack(terms).sum()
