"""Differences between runs of the same seeds, with confidence intervals, and how many of them are more than chance."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lalora.errors import LaloraError
from lalora.extras import named_if_missing

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean over seeds of paired differences, its interval, and the p-value of the paired t-test.

    One seed has neither.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero: only then is one of the two called better."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired(ours: Mapping[int | None, float], theirs: Mapping[int | None, float], level: float = LEVEL) -> Difference:
    """Returns ours minus theirs, by seed: mean and Student's interval for it; a run without a seed has the seed None.

    Raises:
        LaloraError: the seeds differ, or there are none.
    """
    if set(ours) != set(theirs):
        raise LaloraError(f"seeds {_listed(ours)} and {_listed(theirs)} cannot be paired: run both with the same seeds")
    if not ours:
        raise LaloraError("there is no seed to compare")
    return of_mean([ours[seed] - theirs[seed] for seed in sorted(ours, key=str)], level)


def _listed(seeds: Iterable[int | None]) -> str:
    return f"[{', '.join(map(str, sorted(seeds, key=str)))}]"


def of_mean(differences: Sequence[float], level: float = LEVEL) -> Difference:
    """Returns the mean of values, one or more, and Student's interval for it.

    A percentile bootstrap of three seeds is their range, which holds the true mean three times out of four and not
    nineteen out of twenty.
    """
    mean = fmean(differences)
    if len(differences) < 2:
        return Difference(mean, None, None, None, 1)
    with named_if_missing():
        from scipy import stats  # half a second, which a study of one seed need not wait
    error, free = float(stats.sem(differences)), len(differences) - 1
    reach = error * float(stats.t.ppf((1 + level) / 2, free))
    # Seeds that agree to the last digit: a difference, or none.
    p = 2 * float(stats.t.sf(abs(mean) / error, free)) if error else float(mean == 0)
    return Difference(mean, mean - reach, mean + reach, p, len(differences))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Returns p-values corrected for their number, so that one false verdict among all is as rare as for one test.

    Holm (1979): the k-th smallest of m is multiplied by m − k + 1, and none is below a smaller one's. None stays None
    and counts for nothing.
    """
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        corrected[place] = least
    return corrected
