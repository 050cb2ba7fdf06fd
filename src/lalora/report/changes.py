"""How far the weights moved, by how much precision the curvature gave them."""

from dataclasses import dataclass

from lalora.report.numbers import scientific
from lalora.report.schema import PrecisionGroup, Results


@dataclass(frozen=True)
class ChangeTable:
    """Runs whose weights were grouped by the same precisions.

    `runs` are places in the study's list of runs; `changes[i][j]` is the mean |change| of group i in run j.
    """

    rows: list[PrecisionGroup]
    runs: list[int]
    changes: list[list[float | None]]

    @property
    def groups(self) -> list[str]:
        """The names of the groups."""
        return [row.group for row in self.rows]


def change_tables(results: Results) -> list[ChangeTable]:
    """Returns one table for each set of precisions; runs without groups are in none."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, run in enumerate(results.runs):
        if run.precision_groups:
            key = tuple((row.group, row.n, *precision(row)) for row in run.precision_groups)
            alike.setdefault(key, []).append(index)
    return [_table(results, members) for members in alike.values()]


def precision(row: PrecisionGroup) -> tuple[str, str, str]:
    """Returns mean, least and greatest precision as written; two fits of one curvature may differ beyond that."""
    return scientific(row.mean), scientific(row.min), scientific(row.max)


def _table(results: Results, members: list[int]) -> ChangeTable:
    columns = [results.runs[index].precision_groups or [] for index in members]
    changes = [[row.change for row in across] for across in zip(*columns, strict=True)]
    return ChangeTable(rows=columns[0], runs=members, changes=changes)
