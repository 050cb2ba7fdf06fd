"""What the parts of fits and steps cost, beside what a publication reports of them."""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lalora.report import numbers
from lalora.report.schema import Cost, PublishedCost, Results, parse
from lalora.report.summary import average

HEADERS = (
    "Seconds, here",
    "Share of a step",
    "Seconds, paper",
    "GB held, here",
    "GB held, paper",
    "GB reserved, here",
    "GB reserved, paper",
    "Order, paper",
)
_OF_A_STEP = ("forward", "backward", "method", "optimizer")


@dataclass(frozen=True)
class Part:
    """A part of the runs of one label, here in bytes and in the paper in GB; `share` is of the seconds of a step."""

    label: str
    here: Cost
    share: float | None
    paper: PublishedCost

    def cells(self) -> list[str]:
        """Returns the numbers as text, in the order of the headers."""
        return [
            numbers.seconds(self.here.seconds),
            numbers.accuracy(self.share),
            numbers.seconds(self.paper.seconds),
            numbers.gigabytes(self.here.allocated),
            numbers.gigabytes(_bytes(self.paper.allocated)),
            numbers.gigabytes(self.here.reserved),
            numbers.gigabytes(_bytes(self.paper.reserved)),
            self.paper.order or numbers.MISSING,
        ]


def by_setting(results: Results) -> dict[str, list[Part]]:
    """Returns the cost of every part of each setting by its label, means over seeds; none where no steps were timed."""
    found: dict[str, dict[str, list[Cost]]] = {}
    for run in results.runs:
        for cost in run.costs:
            found.setdefault(run.label, {}).setdefault(cost.part, []).append(cost)
    published = {(one.run, one.part): one for one in results.published_costs}
    return {
        label: _parts(label, {part: _mean(part, costs) for part, costs in of.items()}, published)
        for label, of in found.items()
    }


def cost_tables(results: dict[str, Any]) -> list[Table]:
    """Returns what the parts of fits and steps cost; no table where no steps were timed.

    Raises:
        LaloraError: the results have another format or lack a field.
    """
    found = by_setting(parse(results))
    if not found:
        return []
    table = Table(box=box.SIMPLE_HEAD, title="What the parts of fits and steps cost")
    # Of memory what tensors hold: the page has the rest.
    shown = HEADERS[:5]
    for header in ("setting and part", *shown):
        table.add_column(header.replace(", ", "\n"), justify="left" if header == "setting and part" else "right")
    for label, parts in found.items():
        table.add_row(Text(label, style="bold"))
        for part in parts:
            table.add_row(f"  {part.here.part}", *part.cells()[: len(shown)])
        table.add_section()
    return [table]


def _parts(label: str, means: dict[str, Cost], published: dict[tuple[str, str], PublishedCost]) -> list[Part]:
    step = sum(means[part].seconds or 0.0 for part in _OF_A_STEP if part in means)
    return [
        Part(
            label,
            cost,
            cost.seconds / step if part in _OF_A_STEP and cost.seconds is not None and step else None,
            published.get((label, part), PublishedCost(run=label, part=part)),
        )
        for part, cost in means.items()
    ]


def _mean(part: str, costs: list[Cost]) -> Cost:
    means = {key: average(getattr(cost, key) for cost in costs) for key in ("seconds", "allocated", "reserved")}
    return Cost(part=part, **means)


def _bytes(gigabytes: float | None) -> float | None:
    return None if gigabytes is None else gigabytes * 1e9
