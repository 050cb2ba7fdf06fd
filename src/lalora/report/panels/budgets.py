"""Runs with a budget of drift: how it was kept, and whether it was."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.panels.panel import Panel
from lalora.results.schema import Budgeted, Controlled, Evaluation, Run

_TEXT = (
    "Budget, and drift on the rows that it was kept by: KL(base ‖ model) in nats per token, averaged over sources. "
    "λ of softening; the factor that control multiplied the strengths with. Scored rows are others."
)


@dataclass(frozen=True)
class _Row:
    """A run with a budget, from as trained to as kept; drift on the budget's rows, the rest on scored rows."""

    label: str
    budget: float
    by: str
    trained_drift: float | None
    drift: float | None
    softening_strength: float | None
    strength_factor: float | None
    trained_kl: float | None
    kl: float | None
    trained_loss: float | None
    loss: float | None


class BudgetsPanel(Panel):
    """A row a run with a budget."""

    name = "budgets"
    title = "Budgets"

    def __init__(self, findings: Findings) -> None:
        """Finds the runs that have one."""
        super().__init__(findings)
        named = zip(findings.labels, findings.results.runs, strict=True)
        self._rows = [_row(label, run) for label, run in named if run.settings.get("budget") is not None]

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where no run has a budget."""
        return (
            [Table(_COLUMNS, [("", self._rows)], "Budgets", _TEXT, prose=_TEXT, file="budgets")] if self._rows else []
        )


_COLUMNS = [
    Column("label", "Run", short="run", is_text=True),
    Column("budget", "Budget", formatting.scientific, "budget"),
    Column("by", "Kept by", short="by", is_text=True),
    Column("trained_drift", "Drift as trained", formatting.scientific, "drift\ntrained"),
    Column("drift", "Drift", formatting.scientific, "drift"),
    Column("softening_strength", "λ of softening", formatting.scientific, "λ"),
    Column("strength_factor", "Strengths times", formatting.scientific, "times"),
    Column("trained_kl", "Scored rows: as trained", formatting.scientific),
    Column("kl", "Scored rows", formatting.scientific, "scored\nrows"),
    Column("trained_loss", "Target loss as trained", formatting.nats),
    Column("loss", "Target loss", formatting.nats, "target\nloss"),
]


def _row(label: str, run: Run) -> _Row:
    softened = run.budgeted or Budgeted()
    last = run.controlled[-1] if run.controlled else Controlled(step=0)
    trained, final = run.trained or Evaluation(), run.final or Evaluation()
    return _Row(
        label,
        run.settings["budget"],
        run.settings["budget_by"],
        softened.trained_drift,
        last.drift if run.budgeted is None else softened.drift,
        softened.softening_strength,
        last.strength_factor,
        trained.source_kl,
        final.source_kl,
        trained.target_loss,
        final.target_loss,
    )
