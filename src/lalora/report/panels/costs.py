"""What the parts of fits and steps cost, beside what a publication reports of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.panels.panel import Panel
from lalora.report.rows import average
from lalora.results.alike import require_alike
from lalora.results.published import PublishedCost
from lalora.results.schema import Cost, Results

_OF_A_STEP = ("forward", "backward", "method", "optimizer")

# Of memory the terminal has what tensors hold: the page has the rest.
COLUMNS = (
    Column("part", "Part", short="setting and part", is_text=True),
    Column("seconds", "Seconds, here", formatting.seconds, "Seconds\nhere"),
    Column("share", "Share of a step", formatting.accuracy, "Share of a step"),
    Column("paper_seconds", "Seconds, paper", formatting.seconds, "Seconds\npaper"),
    Column("allocated", "GB held, here", formatting.gigabytes, "GB held\nhere"),
    Column("paper_allocated", "GB held, paper", formatting.gigabytes, "GB held\npaper"),
    Column("reserved", "GB reserved, here", formatting.gigabytes),
    Column("paper_reserved", "GB reserved, paper", formatting.gigabytes),
    Column("paper_order", "Order, paper", lambda text: text or formatting.MISSING),
)


@dataclass(frozen=True)
class Part:
    """A part of the runs of one label, memory in bytes; `share` is of the seconds of a step."""

    part: str
    seconds: float | None
    share: float | None
    paper_seconds: float | None
    allocated: float | None
    paper_allocated: float | None
    reserved: float | None
    paper_reserved: float | None
    paper_order: str | None


class CostsPanel(Panel):
    """What every part of a setting took."""

    name = "costs"
    title = "What it costs"
    prose = (
        "Each part of a fit of the curvature, by source, and of a step of one micro-batch: the median of several. "
        "Memory is the most that was held meanwhile, weights included: on a GPU what tensors and the allocator hold, "
        "on a CPU the whole process."
    )

    def tables(self) -> Sequence[Table]:
        """Returns the parts of each setting, none where no steps were timed."""
        found = by_setting(self.findings.results)
        title = "What the parts of fits and steps cost"
        return [Table(COLUMNS, list(found.items()), title, file="costs")] if found else []


def by_setting(results: Results) -> dict[str, list[Part]]:
    """Returns the cost of every part of each setting by its label, means over seeds; none where no steps were timed."""
    found: dict[str, dict[str, list[Cost]]] = {}
    for run in results.runs:
        for cost in run.costs:
            found.setdefault(run.label, {}).setdefault(cost.part, []).append(cost)
    for label in found:
        require_alike([run for run in results.runs if run.label == label])
    published = {(one.run, one.part): one for one in results.published_costs}
    return {
        label: _parts(label, {part: _mean(part, costs) for part, costs in of.items()}, published)
        for label, of in found.items()
    }


def _parts(label: str, means: dict[str, Cost], published: dict[tuple[str, str], PublishedCost]) -> list[Part]:
    step = sum(means[part].seconds or 0.0 for part in _OF_A_STEP if part in means)
    found = []
    for part, cost in means.items():
        paper = published.get((label, part), PublishedCost(run=label, part=part))
        of_step = cost.seconds / step if part in _OF_A_STEP and cost.seconds is not None and step else None
        found.append(
            Part(
                part=part,
                seconds=cost.seconds,
                share=of_step,
                paper_seconds=paper.seconds,
                allocated=cost.allocated,
                paper_allocated=_bytes(paper.allocated),
                reserved=cost.reserved,
                paper_reserved=_bytes(paper.reserved),
                paper_order=paper.order,
            )
        )
    return found


def _mean(part: str, costs: list[Cost]) -> Cost:
    means = {key: average(getattr(cost, key) for cost in costs) for key in ("seconds", "allocated", "reserved")}
    return Cost(part=part, **means)


def _bytes(gigabytes: float | None) -> float | None:
    return None if gigabytes is None else gigabytes * 1e9
