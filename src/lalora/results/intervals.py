"""Differences between runs of the same seeds, with confidence intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from lalora.errors import LaloraError

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean over seeds of paired differences, and its interval, which has no ends where there is one seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero: only then is one of the two called better."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float], level: float = LEVEL) -> Difference:
    """Returns ours minus theirs, by seed: mean and Student's interval for it.

    A percentile bootstrap of three seeds is their range, which holds the true mean three times out of four and not
    nineteen out of twenty.

    Raises:
        LaloraError: the seeds differ, or there are none.
    """
    from scipy import stats  # half a second, which only a study that selects has to wait

    if set(ours) != set(theirs):
        raise LaloraError(f"seeds {sorted(ours)} and {sorted(theirs)} cannot be paired: run both with the same seeds")
    if not ours:
        raise LaloraError("there is no seed to compare")
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours)]
    mean = fmean(differences)
    if len(differences) < 2:
        return Difference(mean, None, None, 1)
    reach = stats.sem(differences) * stats.t.ppf((1 + level) / 2, len(differences) - 1)
    return Difference(mean, float(mean - reach), float(mean + reach), len(differences))
