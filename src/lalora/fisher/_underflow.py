"""Gradients whose squares are zero in the type that sums them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence


def tell_of_underflow(names: Sequence[str]) -> None:
    """Warn that a curvature is zero although gradients are not.

    Args:
        names: Of tensors or layers.
    """
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    warnings.warn(
        f"the gradients of '{names[0]}'{others} are so small that their squares are zero in this precision, and no "
        "penalty will hold them: load the model in float64",
        stacklevel=3,
    )
