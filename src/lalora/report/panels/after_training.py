"""Every version of the adapters that was made after training, as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.means import EXPLAINED, MeanColumn
from lalora.report.panels.panel import Panel
from lalora.report.seeds import Spread, spread
from lalora.report.trajectories import Stop
from lalora.results.schema import Evaluation, Run

_TEXT = (
    "Every adapter as it was trained and as it was changed afterwards. Losses and KL(base ‖ model) in nats per token; "
    "seconds are those of all fits and steps that one version takes by itself."
)
_COLUMNS = (
    Column("label", "Version", short="version", is_text=True),
    MeanColumn("target_loss", "Target loss", formatting.nats, "target\nloss"),
    MeanColumn("source_kl", "KL source", formatting.nats, "KL\nsource"),
    MeanColumn("heldout_kl", "KL held-out", formatting.nats, "KL\nheld-out"),
    MeanColumn("seconds", "Seconds", formatting.seconds, "s"),
)


@dataclass(frozen=True)
class VersionRow:
    """One version of an adapter, over its seeds; `change` and `knob` say how it was made."""

    label: str
    run: int
    change: str
    knob: float | None
    target_loss: Spread | None
    source_kl: Spread | None
    heldout_kl: Spread | None
    seconds: Spread | None = None


class AfterTrainingPanel(Panel):
    """The adapters, scaled, softened, and changed by every rival, a row a version."""

    name = "after-training"
    title = "After training"

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where no rival was measured."""
        if not self.findings.rival_looks:
            return []
        several = f"{EXPLAINED} " if self.findings.several else ""
        sections = [
            (seeds.label, list(_versions(self.findings, place))) for place, seeds in enumerate(self.findings.seeds)
        ]
        return [
            Table(
                _COLUMNS,
                [(title, rows) for title, rows in sections if rows],
                "After training",
                several + _TEXT,
                prose=several + _TEXT,
                file="after-training",
                more=("change", "knob"),
            )
        ]


def _versions(findings: Findings, place: int) -> Iterator[VersionRow]:
    seeds = findings.seeds[place]
    runs = [findings.results.runs[run] for run in seeds.runs]
    if not findings.paths[place]:
        return
    yield _row("as trained", seeds.first, "", None, findings.paths[place][-1])
    for name, shared in (("scaled", findings.scaled[place]), ("softened", findings.softened[place])):
        for knob, stop in zip(_knobs(runs, name), shared, strict=True):
            text = f"× {knob:g}" if name == "scaled" else f"softened, λ = {knob:g}"
            yield _row(
                text, seeds.first, name, knob, stop, _seconds(runs, "soften", knob) if name == "softened" else None
            )
    for name, versions in findings.after[place].items():
        names = findings.results.rival(name)
        for version in versions:
            text = f"{names.label}, {names.knob} = {version.knob:g}"
            yield _row(text, seeds.first, name, version.knob, version.stop, _seconds(runs, name, version.knob))


def _row(
    label: str, run: int, change: str, knob: float | None, stop: Stop, seconds: Spread | None = None
) -> VersionRow:
    loss, source, held_out = (stop.values[key] for key in ("target_loss", "source_kl", "heldout_kl"))
    return VersionRow(label, run, change, knob, loss, source, held_out, seconds)


def _knobs(runs: Sequence[Run], name: str) -> list[float]:
    """Returns the values that all seeds share, in the order of their means."""

    def of(run: Run) -> list[float]:
        rows: list[Evaluation] = getattr(run, name)
        if name == "scaled":
            return list(dict.fromkeys(row.alpha or 0.0 for row in rows))
        return sorted({row.strength or 0.0 for row in rows})

    return [knob for knob in of(runs[0]) if all(knob in of(run) for run in runs)]


def _seconds(runs: Sequence[Run], rival: str, knob: float) -> Spread | None:
    """Returns what a version takes by itself: fits, what serves every value of the knob, and this value."""
    return spread(_of_run(run, rival, knob) for run in runs)


def _of_run(run: Run, rival: str, knob: float) -> float | None:
    parts = {cost.part: cost.seconds for cost in run.after_costs if cost.rival == rival}
    own = f"at {knob:g}"
    wanted = [seconds for part, seconds in parts.items() if part == own or not part.startswith("at ")]
    return None if own not in parts or None in wanted else sum(seconds or 0.0 for seconds in wanted)
