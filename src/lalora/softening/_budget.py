"""The strength that fits a budget, found by measuring."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lalora.errors import LaloraError
from lalora.softening._measured import Measured

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""At which a front is shown."""
# Between which the edge is looked for first.
LADDER = (1e-4, 1e-3, 1e-2, *STRENGTHS, 1e2, 1e3, 1e4, 1e5, 1e6)
_NEAR = 1.15
_FULL = 0.95


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

    Along λ the drift falls and the target loss rises, so that there is one edge. It is bracketed from λ = 1 on and then
    interpolated, until both ends are within 15 % or 95 % of the budget are used.
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

    def used(strength: float) -> float:
        # Of the budget: 1 at the edge.
        if drift is not None:
            return at(strength).drift / drift
        loss, least = at(strength).target_loss, at(0.0).target_loss
        assert floor is not None and loss is not None and least is not None
        return (loss - least) / floor

    if drift is not None and used(0.0) <= 1:
        return Choice(0.0, at(0.0), True, tried)
    # What fits lies above the edge where drift is bounded, and below it where loss is.
    fits_above = drift is not None
    low, high = _bracket(lambda strength: (used(strength) <= 1) == fits_above)
    while low > 0 and math.isfinite(high) and high / low > _NEAR:
        if _FULL <= used(high if fits_above else low) <= 1:
            break
        middle = _between(low, high, used)
        low, high = (low, middle) if (used(middle) <= 1) == fits_above else (middle, high)
    met = math.isfinite(high) or not fits_above
    chosen = high if fits_above and met else low
    return Choice(chosen, at(chosen), met, tried)


def _between(low: float, high: float, used: Callable[[float], float]) -> float:
    # Both are near to powers of λ: a line in logarithms, kept away from the ends.
    ends = [math.log(max(used(one), 1e-6)) for one in (low, high)]
    share = ends[0] / (ends[0] - ends[1]) if ends[0] != ends[1] else 0.5
    return low * math.exp(math.log(high / low) * min(max(share, 0.15), 0.85))


def require_budget(name: str, value: float | None) -> None:
    """Refuse a budget that means nothing."""
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise LaloraError(f"{name} must be a finite number above 0, in nats per token, not {value!r}")


def _bracket(past: Callable[[float], bool]) -> tuple[float, float]:
    place = LADDER.index(1.0)
    if past(LADDER[place]):
        while place > 0 and past(LADDER[place - 1]):
            place -= 1
        return (LADDER[place - 1] if place > 0 else 0.0), LADDER[place]
    while place + 1 < len(LADDER) and not past(LADDER[place + 1]):
        place += 1
    return LADDER[place], (LADDER[place + 1] if place + 1 < len(LADDER) else math.inf)
