"""What a publication reports, beside what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.panels.panel import Panel
from lalora.report.rows import PLAIN, average, difference
from lalora.results.alike import require_alike
from lalora.results.schema import Evaluation, Results

COLUMNS = (
    Column("label", "Setting", short="setting", is_text=True),
    Column("source_paper", "Source, paper", formatting.accuracy, "source acc.\npaper"),
    Column("source", "Source, here", formatting.accuracy, "\nhere"),
    Column("source_more", "Difference of source", formatting.points, "\ndiff."),
    Column("target_paper", "Target, paper", formatting.accuracy, "target acc.\npaper"),
    Column("target", "Target, here", formatting.accuracy, "\nhere"),
    Column("target_more", "Difference of target", formatting.points, "\ndiff."),
    Column("kept_paper", "Forgetting, paper", formatting.points, "forgetting\npaper"),
    Column("kept", "Forgetting, here", formatting.points, "\nhere"),
    Column("learned_paper", "Learning, paper", formatting.points, "learning\npaper"),
    Column("learned", "Learning, here", formatting.points, "\nhere"),
    Column("source_of_base", "Source against base", formatting.points),
    Column("target_of_base", "Target against base", formatting.points),
)


@dataclass(frozen=True)
class Beside:
    """A setting as published and as measured: accuracies and their differences, from 0 to 1.

    Forgetting (`kept`) and learning are, as in the paper, source and target accuracy against plain LoRA; the last two
    are the measured ones against the base model.
    """

    label: str
    source_paper: float
    source: float | None
    source_more: float | None
    target_paper: float
    target: float | None
    target_more: float | None
    kept_paper: float | None
    kept: float | None
    learned_paper: float | None
    learned: float | None
    source_of_base: float | None
    target_of_base: float | None


def beside(results: Results) -> list[Beside]:
    """Returns every published setting beside the mean over seeds of what was measured of it."""
    plain = next((run.label for run in results.runs if run.method == PLAIN), None)
    reference = next((one for one in results.published if one.run == plain), None)
    for one in results.published:
        require_alike([run for run in results.runs if run.label == one.run])
    ours = {one.run: _means([run.final for run in results.runs if run.label == one.run]) for one in results.published}
    paper = (None, None) if reference is None else (reference.source_accuracy, reference.target_accuracy)
    origin_source, origin_target = ours.get(plain or "", (None, None))
    found = []
    for one in results.published:
        source, target = ours[one.run]
        found.append(
            Beside(
                label=one.run,
                source_paper=one.source_accuracy,
                source=source,
                source_more=difference(source, one.source_accuracy),
                target_paper=one.target_accuracy,
                target=target,
                target_more=difference(target, one.target_accuracy),
                kept_paper=difference(one.source_accuracy, paper[0]),
                kept=difference(source, origin_source),
                learned_paper=difference(one.target_accuracy, paper[1]),
                learned=difference(target, origin_target),
                source_of_base=difference(source, results.base.source_accuracy),
                target_of_base=difference(target, results.base.target_accuracy),
            )
        )
    return found


class PublishedPanel(Panel):
    """Published numbers and measured ones, side by side."""

    name = "published"
    title = "Published and measured"
    prose = (
        "Forgetting and learning as the paper counts them: source and target accuracy against plain LoRA, in "
        "percentage points, higher is better. The last two columns are what was measured here against the base model."
    )

    def __init__(self, findings: Findings) -> None:
        """Compares every published setting."""
        super().__init__(findings)
        self.rows = beside(findings.results)

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where nothing was published."""
        title = "Published and measured; forgetting and learning against plain LoRA, pp"
        return [Table(COLUMNS, [("", self.rows)], title)] if self.rows else []


def _means(rows: Sequence[Evaluation | None]) -> tuple[float | None, float | None]:
    return average(row.source_accuracy for row in rows if row), average(row.target_accuracy for row in rows if row)
