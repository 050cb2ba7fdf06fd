"""Runs that differ in their seed alone, as a mean and a standard deviation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from lalora.results.alike import require_alike
from lalora.results.pareto import Point
from lalora.results.schema import Results


@dataclass(frozen=True)
class Seeds:
    """The runs of one label; `runs` are places in the study's list of runs."""

    label: str
    runs: tuple[int, ...]

    @property
    def first(self) -> int:
        """The run whose look and settings stand for all."""
        return self.runs[0]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of what several seeds gave, and how many of them were measured.

    The deviation is that of the seeds (with n − 1), not of their mean; one seed has none.
    """

    mean: float
    deviation: float | None
    seeds: int

    @property
    def low(self) -> float:
        """One standard deviation below the mean: where bars and bands begin."""
        return self.mean - (self.deviation or 0.0)

    @property
    def high(self) -> float:
        """One standard deviation above the mean: where bars and bands end."""
        return self.mean + (self.deviation or 0.0)


def by_label(results: Results) -> list[Seeds]:
    """Returns the runs of a study by method and label, in the order of their first runs.

    Raises:
        LaloraError: two runs of one label differ in more than their seed.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for index, run in enumerate(results.runs):
        members.setdefault((run.method, run.label), []).append(index)
    for runs in members.values():
        require_alike([results.runs[run] for run in runs])
    return [Seeds(label, tuple(runs)) for (_, label), runs in members.items()]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Returns what the measured values have in common; None where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def mean_of(measured: Spread | None) -> float | None:
    """Returns the mean alone, None where nothing was measured."""
    return None if measured is None else measured.mean


def band(curves: Sequence[list[Point]]) -> list[tuple[float, Spread]]:
    """Returns mean and deviation over the curves that have points, at the steps that all of these share."""
    measured = [dict(curve) for curve in curves if curve]
    shared = [step for step in measured[0] if all(step in curve for curve in measured)] if measured else []
    return [(step, found) for step in shared if (found := spread(curve[step] for curve in measured))]
