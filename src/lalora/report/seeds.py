"""Runs that differ in their seed alone, as a mean and a range."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

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
    """Mean, lowest and highest of what several seeds gave, and how many of them were measured."""

    mean: float
    low: float
    high: float
    seeds: int


def by_label(results: Results) -> list[Seeds]:
    """Returns the runs of a study by method and label, in the order of their first runs."""
    members: dict[tuple[str, str], list[int]] = {}
    for index, run in enumerate(results.runs):
        members.setdefault((run.method, run.label), []).append(index)
    return [Seeds(label, tuple(runs)) for (_, label), runs in members.items()]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Returns what the measured values have in common; None where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    # The mean of equal numbers may differ from them in the last digit.
    return Spread(min(max(fmean(known), low), high), low, high, len(known))


def band(curves: Sequence[list[Point]]) -> list[tuple[float, Spread]]:
    """Returns mean and range over the curves that have points, at the steps that all of these share."""
    measured = [dict(curve) for curve in curves if curve]
    shared = [step for step in measured[0] if all(step in curve for curve in measured)] if measured else []
    return [(step, found) for step in shared if (found := spread(curve[step] for curve in measured))]
