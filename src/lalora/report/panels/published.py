"""What a publication reports, beside what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.averages import Average
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.means import EXPLAINED, MeanColumn, in_percent
from lalora.report.panels.panel import Panel
from lalora.report.rows import PLAIN, difference
from lalora.report.seeds import Spread, mean_of
from lalora.results.published import Published

COLUMNS = (
    Column("label", "Setting", short="setting", is_text=True),
    MeanColumn("source_paper", "Source, paper, %", in_percent, "source, %\npaper"),
    MeanColumn("source", "Source, here, %", in_percent, "\nhere"),
    Column("source_more", "Difference of source, pp", formatting.points),
    MeanColumn("target_paper", "Target, paper, %", in_percent, "target, %\npaper"),
    MeanColumn("target", "Target, here, %", in_percent, "\nhere"),
    Column("target_more", "Difference of target, pp", formatting.points),
    Column("kept_paper", "Forgetting, paper, pp", formatting.points, "forget-\nting\npaper"),
    Column("kept", "Forgetting, here, pp", formatting.points, "\nhere"),
    Column("learned_paper", "Learning, paper, pp", formatting.points, "learn-\ning\npaper"),
    Column("learned", "Learning, here, pp", formatting.points, "\nhere"),
)
_MORE = ("seeds", "source_of_base", "target_of_base")


@dataclass(frozen=True)
class Beside:
    """A setting as published and as measured: accuracies and their differences, from 0 to 1.

    Forgetting (`kept`) and learning are, as in the paper, source and target accuracy against plain LoRA; the last two
    are the measured ones against the base model, which the CSV alone has.
    `seeds` is how many were run here, 0 where none was.
    """

    label: str
    seeds: int
    source_paper: Spread
    source: Spread | None
    source_more: float | None
    target_paper: Spread
    target: Spread | None
    target_more: float | None
    kept_paper: float | None
    kept: float | None
    learned_paper: float | None
    learned: float | None
    source_of_base: float | None
    target_of_base: float | None


def beside(findings: Findings) -> list[Beside]:
    """Returns every published setting beside what was measured of it, means and deviations over seeds."""
    results = findings.results
    plain = next((run.label for run in results.runs if run.method == PLAIN), None)
    reference = next((one for one in results.published if one.run == plain), None)
    ours: dict[str, Average] = {}
    for one in findings.averages:
        ours.setdefault(one.label, one)
    return [_beside(one, reference, ours.get(one.run), findings) for one in results.published]


class PublishedPanel(Panel):
    """Published numbers and measured ones, side by side."""

    name = "published"
    title = "Published and measured"
    prose = (
        "Means ± one standard deviation over seeds, published and measured; – where a setting was not run here. "
        "Forgetting and learning as the paper counts them: source and target accuracy against plain LoRA, in "
        "percentage points, higher is better."
    )

    def __init__(self, findings: Findings) -> None:
        """Compares every published setting."""
        super().__init__(findings)
        self.rows = beside(findings)

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where nothing was published."""
        if not self.rows:
            return []
        caption = f"{EXPLAINED} Forgetting and learning against plain LoRA, pp."
        return [Table(COLUMNS, [("", self.rows)], "Published and measured", caption, file="published", more=_MORE)]


def _beside(one: Published, reference: Published | None, ours: Average | None, findings: Findings) -> Beside:
    base = findings.results.base
    paper = (None, None) if reference is None else (reference.source_accuracy, reference.target_accuracy)
    source, target = (None, None) if ours is None else (ours.source_accuracy, ours.target_accuracy)
    return Beside(
        label=one.run,
        seeds=0 if ours is None else ours.seeds,
        # Of how many seeds a published mean is does not stand in a recipe.
        source_paper=Spread(one.source_accuracy, one.source_spread, 0),
        source=source,
        source_more=difference(mean_of(source), one.source_accuracy),
        target_paper=Spread(one.target_accuracy, one.target_spread, 0),
        target=target,
        target_more=difference(mean_of(target), one.target_accuracy),
        kept_paper=difference(one.source_accuracy, paper[0]),
        kept=None if ours is None else mean_of(ours.source_accuracy_against_plain),
        learned_paper=difference(one.target_accuracy, paper[1]),
        learned=None if ours is None else mean_of(ours.target_accuracy_against_plain),
        source_of_base=difference(mean_of(source), base.source_accuracy),
        target_of_base=difference(mean_of(target), base.target_accuracy),
    )
