"""Numbers that a penalty can be weighed with."""

import math

from lalora.errors import LaloraError


def require_non_negative(name: str, value: float) -> None:
    """Refuse a weight that means nothing.

    Args:
        name: What it is called, such as `strength`.
        value: The weight.

    Raises:
        LaloraError: If it is negative, NaN or infinite.
    """
    if not (math.isfinite(value) and value >= 0):
        raise LaloraError(f"{name} must be a finite number ≥ 0, not {value}")
