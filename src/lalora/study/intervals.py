"""Differences between runs of the same seeds, with bootstrap confidence intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from lalora.errors import LaloraError

LEVEL = 0.95
_RESAMPLES = 9999


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, and where it may lie.

    Attributes:
        mean: Over seeds.
        low: Lower end of the interval; None where one seed tells nothing of the spread.
        high: Its upper end.
        seeds: How many there were.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero: only then is one of the two called better."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float], level: float = LEVEL) -> Difference:
    """Compare two settings over the seeds that both were run with.

    With few seeds the interval is narrow for want of data: three seeds have ten different resamples.

    Args:
        ours: A number by seed.
        theirs: The same of what it is compared with.
        level: Of confidence.

    Returns:
        Ours minus theirs: mean and percentile bootstrap interval.

    Raises:
        LaloraError: If the seeds differ, or there are none.
    """
    if set(ours) != set(theirs):
        raise LaloraError(f"seeds {sorted(ours)} and {sorted(theirs)} cannot be paired: run both with the same seeds")
    if not ours:
        raise LaloraError("there is no seed to compare")
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours)]
    if len(differences) < 2:
        return Difference(differences[0], None, None, 1)
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=level,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Difference(fmean(differences), float(interval.low), float(interval.high), len(differences))
