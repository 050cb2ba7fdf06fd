"""The runs of one label as means and standard deviations over their seeds, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report.rows import PLAIN, Row
from lalora.report.seeds import Spread, mean_of, spread
from lalora.results.intervals import Difference, of_mean

ENOUGH_GAIN = 0.8
"""The share of plain LoRA's gain that a run must keep to count as having learned the target."""

LEAST_DRIFT = 1e-3
"""The drift of plain LoRA, in nats per token, below which there is no forgetting to remove."""


@dataclass(frozen=True)
class Average:
    """The seeds of one method at one setting, by measure; None where no seed was measured.

    Those that end in `against_plain` are differences from plain LoRA of the same seeds, pair by pair. `drift` is the KL
    on source text with its interval, `drift_difference` that of the difference.
    """

    label: str
    method: str
    seeds: int
    target_loss: Spread | None
    source_loss: Spread | None
    source_kl: Spread | None
    heldout_kl: Spread | None
    source_accuracy: Spread | None
    target_accuracy: Spread | None
    target_loss_against_plain: Spread | None
    source_loss_against_plain: Spread | None
    source_kl_against_plain: Spread | None
    source_accuracy_against_plain: Spread | None
    target_accuracy_against_plain: Spread | None
    gain: Spread | None
    removed: Spread | None
    kept: Spread | None
    step_seconds: Spread | None
    drift: Difference | None
    drift_difference: Difference | None

    @property
    def drifted(self) -> bool:
        """Whether there is drift that the seeds tell from none."""
        if self.drift is None or self.drift.mean < LEAST_DRIFT:
            return False
        return self.drift.seeds == 1 or self.drift.excludes_zero

    @property
    def drifted_less(self) -> bool:
        """Whether the interval of its difference from plain LoRA's drift lies below zero."""
        difference = self.drift_difference
        return difference is not None and difference.excludes_zero and difference.mean < 0


def averaged(label: str, rows: Sequence[Row]) -> Average:
    """Returns mean and deviation of the rows of one label."""
    return Average(
        label=label,
        method=rows[0].method,
        seeds=len(rows),
        target_loss=spread(row.target_loss for row in rows),
        source_loss=spread(row.source_loss for row in rows),
        source_kl=spread(row.source_kl for row in rows),
        heldout_kl=spread(row.heldout_kl for row in rows),
        source_accuracy=spread(row.source_accuracy for row in rows),
        target_accuracy=spread(row.target_accuracy for row in rows),
        target_loss_against_plain=spread(row.target_loss_against_plain for row in rows),
        source_loss_against_plain=spread(row.source_loss_against_plain for row in rows),
        source_kl_against_plain=spread(row.source_kl_against_plain for row in rows),
        source_accuracy_against_plain=spread(row.source_accuracy_against_plain for row in rows),
        target_accuracy_against_plain=spread(row.target_accuracy_against_plain for row in rows),
        gain=spread(row.gain for row in rows),
        removed=spread(row.forgetting_removed for row in rows),
        kept=spread(row.gain_kept for row in rows),
        step_seconds=spread(row.step_seconds for row in rows),
        drift=_interval([row.source_kl for row in rows]),
        drift_difference=_interval([row.source_kl_against_plain for row in rows]),
    )


def best(averages: Sequence[Average]) -> Average | None:
    """Returns what forgot least of all that learned enough, else the best compromise; None where there was no drift.

    What the seeds tell to have drifted less comes before what only has the lower mean.
    """
    plain = next((one for one in averages if one.method == PLAIN), None)
    if plain is None or not plain.drifted:
        return None
    compared = [one for one in averages if one.removed is not None and one.kept is not None]
    learned = [one for one in compared if or_zero(one.kept) >= ENOUGH_GAIN]
    if learned:
        return max(learned, key=lambda one: (one.drifted_less, or_zero(one.removed)))
    return max(compared, key=lambda one: or_zero(one.removed) + or_zero(one.kept), default=None)


def or_zero(measured: Spread | None) -> float:
    """Returns a mean, 0 where it is missing."""
    return mean_of(measured) or 0.0


def _interval(values: Sequence[float | None]) -> Difference | None:
    known = [value for value in values if value is not None]
    return of_mean(known) if known else None
