"""Gradients whose squares are zero in the type that sums them."""

from __future__ import annotations

from collections.abc import Sequence

from lalora.errors import first_of, warn


def tell_of_underflow(names: Sequence[str]) -> None:
    """Warn that a curvature is zero although gradients are not."""
    warn(
        f"the gradients of {first_of(names)} are so small that their squares are zero in this precision, and no "
        "penalty will hold them: load the model in float64",
    )
