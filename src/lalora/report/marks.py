"""Where single runs ended in a view of the trade-off, in the units of its axes."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report.findings import Findings
from lalora.report.trajectories import View
from lalora.results.pareto import Point


@dataclass(frozen=True)
class Mark:
    """A run, as its place in the study's list, and where it ended."""

    run: int
    at: Point


def scale_of(view: View) -> float:
    """Returns what a measure is multiplied with for its axis: accuracies are shown in percent."""
    return 100.0 if view.up else 1.0


def ends(findings: Findings, runs: Sequence[int], view: View) -> list[Mark]:
    """Returns a mark for each run whose end was measured in a view."""
    scale = scale_of(view)
    found = []
    for run in runs:
        for last in list(findings.trajectories[run].values())[-1:]:
            if (x := last[view.x]) is not None and (y := last[view.y]) is not None:
                found.append(Mark(run, (scale * x, scale * y)))
    return found
