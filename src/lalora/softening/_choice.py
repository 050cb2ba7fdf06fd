"""The strength that fits a budget, found by measuring."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lalora.errors import LaloraError
from lalora.softening._measured import Measured

_LEAST, _MOST = 1e-4, 1e6
_PRECISION = 1.15


@dataclass(frozen=True)
class Choice:
    """A strength and what was measured there.

    Attributes:
        strength: λ.
        measured: Loss and drift on the held-out rows that the choice was made by.
        met: Whether it fits; where nothing does, the strength is the nearest.
        tried: Everything that was measured on the way, by strength.
    """

    strength: float
    measured: Measured
    met: bool
    tried: dict[float, Measured]


def within(measure: Callable[[float], Measured], drift: float | None, floor: float | None) -> Choice:
    """Find the strength at the edge of a budget.

    Along λ the drift falls and the target loss rises, so that there is one edge; it is bracketed by tens from λ = 1 and
    then halved on a logarithmic scale until both ends are within 15 %.

    Args:
        measure: Loss and drift at a strength.
        drift: Most KL(base ‖ model) in nats per token: the least strength that keeps it.
        floor: Most target loss to give up, in nats per token: the largest strength that keeps it.

    Returns:
        The choice.

    Raises:
        LaloraError: If not exactly one of the two is given, or it is not a finite number above zero.
    """
    if (drift is None) == (floor is None):
        raise LaloraError("give one of drift (most KL to the base) and floor (most target loss to give up)")
    require_budget("drift", drift)
    require_budget("floor", floor)
    tried: dict[float, Measured] = {}

    def at(strength: float) -> Measured:
        if strength not in tried:
            tried[strength] = measure(strength)
        return tried[strength]

    def past(strength: float) -> bool:
        # Whether the edge lies at this strength or below it.
        if drift is not None:
            return at(strength).drift <= drift
        loss, least = at(strength).target_loss, at(0.0).target_loss
        assert floor is not None and loss is not None and least is not None
        return loss - least > floor

    low, high = 0.0, math.inf
    if not past(0.0):
        low, high = _bracket(past)
        while low > 0 and math.isfinite(high) and high / low > _PRECISION:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if past(middle) else (middle, high)
    else:
        high = 0.0
    if drift is None:
        return Choice(low, at(low), True, tried)
    met = math.isfinite(high)
    chosen = high if met else low
    return Choice(chosen, at(chosen), met, tried)


def require_budget(name: str, value: float | None) -> None:
    """Refuse a budget that means nothing.

    Args:
        name: What to call it.
        value: Nats per token, if any.

    Raises:
        LaloraError: If it is not a finite number above zero.
    """
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise LaloraError(f"{name} must be a finite number above 0, in nats per token, not {value!r}")


def _bracket(past: Callable[[float], bool]) -> tuple[float, float]:
    if past(1.0):
        high = 1.0
        while high > _LEAST:
            if not past(high / 10):
                return high / 10, high
            high /= 10
        return 0.0, high
    low = 1.0
    while low < _MOST:
        if past(low * 10):
            return low, low * 10
        low *= 10
    return low, math.inf
