"""Which part of an axis the bulk of its values needs, so that a few far ones do not squeeze all others."""

from collections.abc import Sequence
from statistics import quantiles

FEWEST = 5
"""Quartiles of fewer values tell nothing."""
REACH = 1.5
WORTH = 3.0

Fences = tuple[float, float]

RULE = (
    "Beyond the plot is what lies further than 1.5 interquartile ranges from the quartiles of all ends, where with it "
    "the axis would be more than three times as long."
)


def fences(values: Sequence[float], base: float, keeps_base: bool) -> Fences | None:
    """Returns limits of an axis of which what lies outside stands at the edge of the plot; None where all is shown.

    They are Tukey's fences of the ends, where that is worth it, and hold the base model with `keeps_base`, or where the
    axis would not be much longer for it.
    """
    if len(values) < FEWEST:
        return None
    first, _, third = quantiles(values, n=4, method="inclusive")
    low, high = first - REACH * (third - first), third + REACH * (third - first)
    bulk = [value for value in values if low <= value <= high]
    if not _is_worth(values, bulk):
        low, high, bulk = min(values), max(values), list(values)
    if keeps_base or not _is_worth([*bulk, base], bulk):
        low, high = min(low, base), max(high, base)
    return None if all(low <= value <= high for value in (*values, base)) else (low, high)


def _is_worth(whole: Sequence[float], part: Sequence[float]) -> bool:
    return 0 < WORTH * (max(part) - min(part)) < max(whole) - min(whole)


def is_outside(value: float, limits: Fences | None) -> bool:
    """Returns whether a value has no place within fences."""
    return limits is not None and not limits[0] <= value <= limits[1]
