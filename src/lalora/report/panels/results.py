"""What every run learned and forgot, what happened on each data set by itself, and the caveats."""

from collections.abc import Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.panels.panel import Panel
from lalora.report.rows import difference
from lalora.results.schema import Evaluation

COLUMNS = (
    Column("label", "Run", short="run", is_text=True),
    Column("target_loss", "Target loss", formatting.nats, "target\nloss"),
    Column("source_loss", "Source loss", formatting.nats, "source\nloss"),
    Column("source_rise", "Rise", formatting.change, "rise"),
    Column("source_kl", "KL source", formatting.nats, "KL\nsource"),
    Column("heldout_kl", "KL held-out", formatting.nats, "KL\nheld-out"),
    Column("source_accuracy", "Source accuracy", formatting.accuracy, "source\nacc."),
    Column("target_accuracy", "Target accuracy", formatting.accuracy, "target\nacc."),
    Column("forgetting_removed", "Forgetting removed", formatting.percent, "forgetting\nremoved"),
    Column("gain_kept", "Gain kept", formatting.percent, "gain\nkept"),
    Column("step_seconds", "Seconds a step", formatting.seconds, "s per\nstep"),
)
OF_A_DATASET = (
    Column("label", "Run", is_text=True),
    Column("loss", "Loss", formatting.nats),
    Column("rise", "Rise", formatting.change),
    Column("kl", "KL", formatting.nats),
    Column("accuracy", "Accuracy", formatting.accuracy),
)


@dataclass(frozen=True)
class DatasetRow:
    """One model on one data set; loss, rise and KL in nats per token."""

    label: str
    run: int | None
    loss: float | None
    rise: float | None
    kl: float | None
    accuracy: float | None


class ResultsPanel(Panel):
    """The base model and every run, a row each; below them every data set, and the caveats."""

    name = "results"
    title = "Results"
    template = "results.html"

    def tables(self) -> Sequence[Table]:
        """Returns the table of runs, and that of data sets where some were measured."""
        runs = Table(
            COLUMNS,
            [("", self.findings.rows)],
            self.findings.results.name,
            "Losses and KL(base ‖ model) in nats per token. Forgetting removed: by KL on source text, "
            "against plain LoRA of the same seed.",
            of_runs=True,
            file="results",
            more=("name", "method", "gain"),
        )
        datasets = by_dataset(self.findings)
        sections = [(self._with_rows(name), rows) for name, rows in datasets.items()]
        return [runs, Table(OF_A_DATASET, sections, of_runs=True)] if datasets else [runs]

    def _with_rows(self, name: str) -> str:
        base = self.findings.results.base
        told = [
            f"{of[name]} rows{what}"
            for of, what in ((base.rows, ""), (base.accuracy_rows, " for accuracy"))
            if name in of
        ]
        return ", ".join([name, *told])


def by_dataset(findings: Findings) -> dict[str, list[DatasetRow]]:
    """Returns the base model and every finished run on every data set that the base model was measured on."""
    base = findings.results.base
    models: list[tuple[str, int | None, Evaluation]] = [("Base model", None, base)]
    models += [
        (findings.labels[place], place, run.final)
        for place, run in enumerate(findings.results.runs)
        if run.final is not None
    ]
    return {
        name: [_row(text, run, name, measured, base) for text, run, measured in models]
        for name in dict.fromkeys([*base.loss, *base.accuracy])
    }


def _row(text: str, run: int | None, name: str, measured: Evaluation, base: Evaluation) -> DatasetRow:
    loss = measured.loss.get(name)
    rise = None if run is None else difference(loss, base.loss.get(name))
    return DatasetRow(text, run, loss, rise, measured.kl.get(name), measured.accuracy.get(name))
