"""Numbers that a penalty or a refit can go by."""

import math
from numbers import Integral, Real

from lalora.errors import LaloraError


def require_non_negative(name: str, value: float) -> None:
    """Refuse a weight that means nothing."""
    if not (is_number(value) and math.isfinite(value) and value >= 0):
        raise LaloraError(f"{name} must be a finite number ≥ 0, not {value!r}")


def require_integer(name: str, value: int, least: int) -> None:
    """Refuse what is no whole number, or too small."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        wanted = f"{least} or more" if isinstance(value, Integral) and not isinstance(value, bool) else "a whole number"
        raise LaloraError(f"{name} must be {wanted}, not {value!r}")


def is_number(value: object) -> bool:
    """Tell whether a value is a real number, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def require_prior(value: float | str) -> None:
    """Refuse a prior precision that means nothing."""
    if isinstance(value, str):
        if value != "auto":
            raise LaloraError(f"prior must be a number ≥ 0 or 'auto', not '{value}'")
    else:
        require_non_negative("prior", value)
