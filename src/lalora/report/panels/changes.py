"""How far the weights moved, by how much precision the curvature gave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from lalora.report import formatting
from lalora.report.changes_picture import draw_changes, drawn_runs
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.panels.panel import Panel
from lalora.results.schema import PrecisionGroup, Results


@dataclass(frozen=True)
class Change:
    """A group of weights, and the mean |change| of its weights in each run."""

    of: PrecisionGroup
    changes: list[float | None]


@dataclass(frozen=True)
class Changes:
    """Runs, as places in the study's list, whose weights were grouped by the same precisions."""

    groups: list[Change]
    runs: list[int]


@dataclass(frozen=True)
class Moved:
    """The mean |change| of the weights of each group in one run."""

    label: str
    run: int
    changes: list[float | None]


class ChangesPanel(Panel):
    """A plot and a table for each set of precisions, and a picture of all weights of a few runs."""

    name = "changes"
    title = "Which weights moved"
    template = "changes.html"
    scripts = ("changes.js",)
    pictured = True
    alt = "Weights at the start against the end of training, and how many changed by how much, a row a run"

    def __init__(self, findings: Findings) -> None:
        """Finds the runs that share their groups, and those whose weights are drawn."""
        super().__init__(findings)
        self.found = changes(findings.results)
        self.drawn = drawn_runs(findings.results)

    @property
    def is_empty(self) -> bool:
        """Whether no run knows how its weights moved."""
        return not (self.found or self.drawn)

    @property
    def about_picture(self) -> str:
        """What the picture shows, and of which runs."""
        known = len({run.label for run in self.findings.results.runs if run.weight_changes is not None})
        which = (
            f"Of {known} settings {len(self.drawn)} are drawn: the first plain LoRA, LaLoRA evenly from its weakest to "
            "its strongest, and other methods where there is room; of several seeds the first. "
            if known > len(self.drawn)
            else ""
        )
        return (
            "All weights of the adapter, a row a run. Left: their density by value at the start and at the end of "
            "training; a weight on the dashed line did not move. Right: how many weights changed by how much, both "
            f"axes logarithmic. {which}Rows share their axes and colours."
        )

    def figure(self) -> Figure | None:
        """Returns the picture of start, end and changes of all weights."""
        return draw_changes(self.findings, self.drawn) if self.drawn else None

    def tables(self) -> Sequence[Table]:
        """Returns two tables for each set of precisions: its groups, and how far they moved in each run."""
        return [table for pair in self.pairs for table in pair]

    @property
    def pairs(self) -> list[tuple[Table, Table]]:
        """The two tables of each set of precisions."""
        return [(Table(_GROUPS, [("", found.groups)]), self._runs(found)) for found in self.found]

    def plots(self) -> dict[str, Any]:
        """Returns the changes by group and run."""
        return {
            "changes": [
                {
                    "groups": [group.of.group for group in found.groups],
                    "changes": [group.changes for group in found.groups],
                    "runs": found.runs,
                }
                for found in self.found
            ]
        }

    def _runs(self, found: Changes) -> Table:
        moved = [
            Moved(self.findings.labels[run], run, [group.changes[place] for group in found.groups])
            for place, run in enumerate(found.runs)
        ]
        columns = [
            Column(group.of.group, f"Mean |Δ|, {group.of.group}", formatting.scientific, value=partial(_at, place))
            for place, group in enumerate(found.groups)
        ]
        return Table([Column("label", "Run", is_text=True), *columns], [("", moved)], of_runs=True)


def changes(results: Results) -> list[Changes]:
    """Returns the runs by the set of their precisions; runs without groups are in none."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, run in enumerate(results.runs):
        if run.precision_groups:
            key = tuple((row.group, row.n, *_written(row)) for row in run.precision_groups)
            alike.setdefault(key, []).append(index)
    return [_table(results, members) for members in alike.values()]


def _written(row: PrecisionGroup) -> tuple[str, str, str]:
    # Two fits of one curvature may differ beyond what is written.
    return formatting.scientific(row.mean), formatting.scientific(row.min), formatting.scientific(row.max)


def _table(results: Results, members: list[int]) -> Changes:
    columns = [results.runs[index].precision_groups or [] for index in members]
    return Changes(
        [Change(across[0], [row.change for row in across]) for across in zip(*columns, strict=True)], members
    )


def _range(group: PrecisionGroup) -> str:
    least, most = formatting.scientific(group.min), formatting.scientific(group.max)
    return least if group.min == group.max else f"{least} … {most}"


def _at(place: int, moved: Moved) -> float | None:
    return moved.changes[place]


_GROUPS = (
    Column("group", "Group", value=lambda group: group.of.group.capitalize(), is_text=True),
    Column("n", "Weights", formatting.count, value=lambda group: group.of.n),
    Column("mean", "Mean precision", formatting.scientific, value=lambda group: group.of.mean),
    Column("range", "Range", value=lambda group: _range(group.of)),
)
