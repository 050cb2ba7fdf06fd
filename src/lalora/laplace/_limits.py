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


def require_prior(value: float | str) -> None:
    """Refuse a prior precision that means nothing.

    Args:
        value: δ, or `auto`.

    Raises:
        LaloraError: If it is another word, negative, NaN or infinite.
    """
    if isinstance(value, str):
        if value != "auto":
            raise LaloraError(f"prior must be a number ≥ 0 or 'auto', not '{value}'")
    else:
        require_non_negative("prior", value)
