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

_BEFORE = ("mode", "ready", "training")
_OF_A_STEP = ("forward", "method", "backward", "optimizer")
_MEASURED = ("seconds", "allocated", "peak", "reserved")
_GIB = 2**30

# Of memory the terminal has what tensors hold: the page has the rest.
COLUMNS = (
    Column("part", "Part", short="setting and part", is_text=True),
    Column("seconds", "Seconds, here", formatting.seconds, "Seconds\nhere"),
    Column("share", "Share of a step", formatting.accuracy, "Share of a step"),
    Column("paper_seconds", "Seconds, paper", formatting.seconds, "Seconds\npaper"),
    Column("allocated", "GiB held after, here", formatting.gibibytes, "GiB held\nhere"),
    Column("paper_allocated", "GiB held after, paper", formatting.gibibytes, "GiB held\npaper"),
    Column("peak", "Most GiB within, here", formatting.gibibytes),
    Column("reserved", "GiB reserved, here", formatting.gibibytes),
    Column("paper_reserved", "GiB reserved, paper", formatting.gibibytes),
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
    peak: float | None
    reserved: float | None
    paper_reserved: float | None
    paper_order: str | None


class CostsPanel(Panel):
    """What every part of a setting took."""

    name = "costs"
    title = "What it costs"
    prose = (
        "Each part of a fit of the curvature, by source, and of a step of one micro-batch: the median of several. "
        "Memory is what was held after a part, and the most within it, weights included: on a GPU what tensors and the "
        "allocator hold, on a CPU the whole process. A GiB is 2³⁰ bytes, which the paper writes as GB. The gradient of "
        "a penalty (method) is added here after the backward pass, in the paper before it. A dash is what was not "
        "measured apart, or not published."
    )

    def tables(self) -> Sequence[Table]:
        """Returns the parts of each setting, none where no steps were timed."""
        found = by_setting(self.findings.results)
        title = "What the parts of fits and steps cost"
        return [Table(COLUMNS, list(found.items()), title, file="costs")] if found else []


def by_setting(results: Results) -> dict[str, list[Part]]:
    """Returns the cost of every part of each setting by its label; none where no steps were timed.

    These are all parts that were measured, as means over seeds, and all that were published.
    """
    measured: dict[str, dict[str, list[Cost]]] = {}
    for run in results.runs:
        for cost in run.costs:
            measured.setdefault(run.label, {}).setdefault(cost.part, []).append(cost)
    if not measured:
        return {}
    for label in measured:
        require_alike([run for run in results.runs if run.label == label])
    published: dict[str, dict[str, PublishedCost]] = {}
    for one in results.published_costs:
        published.setdefault(one.run, {})[one.part] = one
    return {
        label: _parts(
            label,
            {part: _mean(part, costs) for part, costs in measured.get(label, {}).items()},
            published.get(label, {}),
        )
        for label in [*measured, *(label for label in published if label not in measured)]
    }


def _parts(label: str, means: dict[str, Cost], published: dict[str, PublishedCost]) -> list[Part]:
    step = sum(means[part].seconds or 0.0 for part in _OF_A_STEP if part in means)
    found = []
    for part in sorted({**means, **published}, key=_place):
        cost = means.get(part, Cost(part=part))
        paper = published.get(part, PublishedCost(run=label, part=part))
        of_step = cost.seconds / step if part in _OF_A_STEP and cost.seconds is not None and step else None
        found.append(
            Part(
                part=part,
                seconds=cost.seconds,
                share=of_step,
                paper_seconds=paper.seconds,
                allocated=cost.allocated,
                paper_allocated=_bytes(paper.allocated),
                peak=cost.peak,
                reserved=cost.reserved,
                paper_reserved=_bytes(paper.reserved),
                paper_order=paper.order,
            )
        )
    return found


def _place(part: str) -> int:
    """Returns the place of a part in a run: fits first, in the order of the sources, and what is unknown last."""
    known = [*_BEFORE, *_OF_A_STEP]
    if part.startswith("fit "):
        return -1
    return known.index(part) if part in known else len(known)


def _mean(part: str, costs: list[Cost]) -> Cost:
    return Cost(part=part, **{key: average(getattr(cost, key) for cost in costs) for key in _MEASURED})


def _bytes(gibibytes: float | None) -> float | None:
    return None if gibibytes is None else gibibytes * _GIB
