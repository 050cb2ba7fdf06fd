"""What every setting gave on validation rows, beside what a publication reports of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.means import EXPLAINED, MeanColumn, in_percent
from lalora.report.panels.panel import Panel
from lalora.report.seeds import Spread, spread
from lalora.results.published import PublishedValidation


def _percent(share: float | None) -> str:
    return formatting.MISSING if share is None else in_percent(share)


COLUMNS: tuple[Column, ...] = (
    Column("label", "Setting", short="setting", is_text=True),
    Column("seeds", "Seeds", short="n"),
    MeanColumn("source_accuracy", "Source accuracy, %", in_percent, "source\nacc., %"),
    Column("source_paper", "Source, paper, %", _percent, "\npaper"),
    MeanColumn("target_accuracy", "Target accuracy, %", in_percent, "target\nacc., %"),
    Column("target_paper", "Target, paper, %", _percent, "\npaper"),
    MeanColumn("source_kl", "KL source", formatting.nats, "KL\nsource"),
    MeanColumn("source_loss", "Source loss", formatting.nats),
    MeanColumn("target_loss", "Target loss", formatting.nats, "target\nloss"),
    Column("score", "S_B", formatting.nats, "S_B"),
    Column("score_paper", "S_B, paper", formatting.nats, "\npaper"),
)


@dataclass(frozen=True)
class Validated:
    """A setting on validation rows: accuracies from 0 to 1, losses and KL in nats per token, its S_B if it has one.

    What is of the `paper` is as published.
    """

    label: str
    seeds: int
    source_accuracy: Spread | None
    target_accuracy: Spread | None
    source_kl: Spread | None
    source_loss: Spread | None
    target_loss: Spread | None
    score: float | None
    source_paper: float | None
    target_paper: float | None
    score_paper: float | None


class ValidationPanel(Panel):
    """A row a setting, of the columns that were measured or published."""

    name = "validation"
    title = "On validation rows"

    def __init__(self, findings: Findings) -> None:
        """Averages what was measured on validation rows."""
        super().__init__(findings)
        self.rows = validated(findings)

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where no run was measured on validation rows."""
        if not self.rows:
            return []
        text = "Training rows that no method saw; settings are chosen by them. Losses and KL in nats per token."
        several = f" {EXPLAINED}" if self.findings.several else ""
        known = [one for one in COLUMNS if any(one.of(row) is not None for row in self.rows)]
        title = "On validation rows"
        return [Table(known, [("", self.rows)], title, text + several, prose=text + several, file="validation")]


def validated(findings: Findings) -> list[Validated]:
    """Returns the settings of which some run was measured on validation rows, in the order of the study."""
    results = findings.results
    published = {one.run: one for one in results.published_validation}
    nothing = PublishedValidation(run="")
    scores = {
        setting.label: setting.score
        for method in (results.selection.methods if results.selection else ())
        for setting in method.settings
    }
    found = []
    for seeds in findings.seeds:
        rows = [row for run in seeds.runs if (row := results.runs[run].validation) is not None]
        if not rows:
            continue
        paper = published.get(seeds.label, nothing)
        found.append(
            Validated(
                label=seeds.label,
                seeds=len(rows),
                source_accuracy=spread(row.source_accuracy for row in rows),
                target_accuracy=spread(row.target_accuracy for row in rows),
                source_kl=spread(row.source_kl for row in rows),
                source_loss=spread(row.source_loss for row in rows),
                target_loss=spread(row.target_loss for row in rows),
                score=scores.get(seeds.label),
                source_paper=paper.source_accuracy,
                target_paper=paper.target_accuracy,
                score_paper=paper.score,
            )
        )
    return found
