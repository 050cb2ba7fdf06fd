"""What a publication reports, beside what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lalora.report import numbers
from lalora.report.schema import Evaluation, Results, parse
from lalora.report.summary import PLAIN, average, difference

COLUMNS = (
    "Source, paper",
    "Source, here",
    "Difference",
    "Target, paper",
    "Target, here",
    "Difference",
    "Forgetting, paper",
    "Forgetting, here",
    "Learning, paper",
    "Learning, here",
    "Source against base",
    "Target against base",
)
HEADERS = ("setting", "source acc.", "", "", "target acc.", "", "", "forgetting", "", "learning", "")
SECOND = ("", "paper", "here", "diff.", "paper", "here", "diff.", "paper", "here", "paper", "here")


@dataclass(frozen=True)
class Beside:
    """A setting as published and as measured: accuracies from 0 to 1, differences in percentage points.

    Forgetting and learning are, as in the paper, source and target accuracy against plain LoRA; `of_base` are the
    measured ones against the base model.
    """

    label: str
    source: tuple[float, float | None]
    target: tuple[float, float | None]
    kept: tuple[float | None, float | None]
    learned: tuple[float | None, float | None]
    of_base: tuple[float | None, float | None]

    def cells(self) -> list[str]:
        """Returns the numbers as text, in the order of the columns."""
        both = [
            [numbers.accuracy(paper), numbers.accuracy(here), numbers.points(difference(here, paper))]
            for paper, here in (self.source, self.target)
        ]
        return [*both[0], *both[1], *(numbers.points(value) for pair in (self.kept, self.learned) for value in pair)]

    def against_base(self) -> list[str]:
        """Returns the measured differences from the base model as text: source, target."""
        return [numbers.points(value) for value in self.of_base]


def beside(results: Results) -> list[Beside]:
    """Returns every published setting beside the mean over seeds of what was measured of it."""
    plain = next((run.label for run in results.runs if run.method == PLAIN), None)
    reference = next((one for one in results.published if one.run == plain), None)
    ours = {one.run: _means([run.final for run in results.runs if run.label == one.run]) for one in results.published}
    base = (results.base.source_accuracy, results.base.target_accuracy)
    origin = ours.get(plain or "", (None, None))
    found = []
    for one in results.published:
        here = ours[one.run]
        paper = (one.source_accuracy, one.target_accuracy)
        origin_paper = (None, None) if reference is None else (reference.source_accuracy, reference.target_accuracy)
        against = [
            (difference(paper[place], origin_paper[place]), difference(here[place], origin[place])) for place in (0, 1)
        ]
        of_base = (difference(here[0], base[0]), difference(here[1], base[1]))
        found.append(Beside(one.run, (paper[0], here[0]), (paper[1], here[1]), against[0], against[1], of_base))
    return found


def published_tables(results: dict[str, Any]) -> list[Table]:
    """Returns published and measured numbers side by side; no table where nothing was published.

    Raises:
        LaloraError: the results have another format or lack a field.
    """
    rows = beside(parse(results))
    if not rows:
        return []
    table = Table(box=box.SIMPLE_HEAD, title="Published and measured; forgetting and learning against plain LoRA, pp")
    for first, second in zip(HEADERS, SECOND, strict=True):
        table.add_column(f"{first}\n{second}", justify="left" if first == "setting" else "right")
    for row in rows:
        table.add_row(Text(row.label), *row.cells())
    return [table]


def _means(rows: Sequence[Evaluation | None]) -> tuple[float | None, float | None]:
    return average(row.source_accuracy for row in rows if row), average(row.target_accuracy for row in rows if row)
