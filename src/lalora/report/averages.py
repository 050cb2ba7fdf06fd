"""The runs of one label averaged over their seeds, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report.rows import Row, average

ENOUGH_GAIN = 0.8
"""The share of plain LoRA's gain that a run must keep to count as having learned the target."""


@dataclass(frozen=True)
class Average:
    """The seeds of one method at one setting, averaged; None where no seed was measured."""

    label: str
    method: str
    seeds: int
    target_loss: float | None
    source_kl: float | None
    gain: float | None
    removed: float | None
    kept: float | None
    step_seconds: float | None


def averaged(label: str, rows: Sequence[Row]) -> Average:
    """Returns the mean of the rows of one label."""
    return Average(
        label=label,
        method=rows[0].method,
        seeds=len(rows),
        target_loss=average(row.target_loss for row in rows),
        source_kl=average(row.source_kl for row in rows),
        gain=average(row.gain for row in rows),
        removed=average(row.forgetting_removed for row in rows),
        kept=average(row.gain_kept for row in rows),
        step_seconds=average(row.step_seconds for row in rows),
    )


def best(averages: Sequence[Average]) -> Average | None:
    """Returns what forgot least of all that learned enough, else the best compromise."""
    compared = [one for one in averages if one.removed is not None and one.kept is not None]
    learned = [one for one in compared if or_zero(one.kept) >= ENOUGH_GAIN]
    if learned:
        return max(learned, key=lambda one: or_zero(one.removed))
    return max(compared, key=lambda one: or_zero(one.removed) + or_zero(one.kept), default=None)


def or_zero(number: float | None) -> float:
    """Returns a number, 0 where it is missing."""
    return 0.0 if number is None else number
