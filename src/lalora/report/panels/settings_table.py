"""Every setting of a study with several seeds: what it learned and forgot on average, and how much seeds differ."""

from collections.abc import Sequence

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.means import EXPLAINED, MeanColumn, in_percent
from lalora.report.panels.panel import Panel

_FORGETTING = "source_accuracy_against_plain"
_LEARNING = "target_accuracy_against_plain"


class SettingsPanel(Panel):
    """A row a setting, with means and standard deviations over its seeds."""

    name = "settings"
    title = "Means over seeds"

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where no setting has several seeds."""
        if not self.findings.several:
            return []
        against = ""
        if self.findings.with_accuracies:
            against = (
                " Forgetting and learning: source and target accuracy minus those of plain LoRA of the same seeds, "
                "higher is better."
            )
        text = f"{EXPLAINED} Losses and KL(base ‖ model) in nats per token.{against}"
        rows = [("", self.findings.averages)]
        return [Table(_columns(self.findings), rows, "Settings", text, prose=text, file="settings", more=("method",))]


def _columns(findings: Findings) -> list[Column]:
    """Returns the columns that were measured; those of accuracies take the place of held-out text in the terminal."""
    held_out = any(one.heldout_kl is not None for one in findings.averages)
    accurate = findings.with_accuracies
    found = [
        Column("label", "Setting", short="setting", is_text=True),
        Column("seeds", "Seeds", short="n"),
        MeanColumn("target_loss", "Target loss", formatting.nats, "target\nloss"),
        MeanColumn("source_kl", "KL source", formatting.nats, "KL\nsource"),
    ]
    if held_out:
        found.append(MeanColumn("heldout_kl", "KL held-out", formatting.nats, None if accurate else "KL\nheld-out"))
    if accurate:
        found += [
            MeanColumn("source_accuracy", "Source accuracy, %", in_percent, "source\nacc., %"),
            MeanColumn("target_accuracy", "Target accuracy, %", in_percent, "target\nacc., %"),
            MeanColumn(_FORGETTING, "Forgetting, pp", formatting.points, "forgetting\npp"),
            MeanColumn(_LEARNING, "Learning, pp", formatting.points, "learning\npp"),
        ]
    return found
