"""The selected settings on the scored rows, as means over seeds and against plain LoRA."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from lalora.report import formatting
from lalora.report.averages import Average
from lalora.report.column import Column, Table
from lalora.report.means import EXPLAINED, MeanColumn, in_percent
from lalora.report.panels.panel import Panel
from lalora.results.schema import Selected

_NAMES = {
    "source_accuracy": "source accuracy",
    "target_accuracy": "target accuracy",
    "source_kl": "KL source",
    "source_loss": "source loss",
    "target_loss": "target loss",
}
_OF_ACCURACIES = {"source_accuracy": "Forgetting, pp", "target_accuracy": "Learning, pp"}


@dataclass(frozen=True)
class Chosen:
    """A setting that was selected, what for, and its runs averaged."""

    purpose: str
    of: Average


class SelectedPanel(Panel):
    """A row a selected setting: the metrics of the selection, and accuracies where they were measured."""

    name = "selected"
    title = "Selected settings, scored rows"

    def tables(self) -> Sequence[Table]:
        """Returns the table, none where nothing was selected."""
        selection = self.findings.results.selection
        if selection is None or not selection.methods:
            return []
        accuracies = tuple(_OF_ACCURACIES) if self.findings.with_accuracies else ()
        chosen_by = (selection.keeping, selection.learning)
        columns = _columns(list(dict.fromkeys([*chosen_by, *accuracies])), chosen_by)
        rows = [row for method in selection.methods for row in chosen(method, self.findings.averages)]
        text = f"{EXPLAINED} Differences are from plain LoRA of the same seeds."
        if accuracies:
            text += " Forgetting and learning: the differences of source and target accuracy, higher is better."
        return [Table(columns, [("", rows)], "Selected settings, scored rows", text, prose=text, file="selected")]


def chosen(method: Selected, averages: Sequence[Average]) -> list[Chosen]:
    """Returns each selected setting of a method once, with all that it was selected for.

    A method with one setting has nothing to select from, so that it has no purpose.
    """
    purposes: dict[str, list[str]] = {}
    for purpose in ("stability", "plasticity", "above_floor"):
        label = getattr(method, purpose)
        if label is not None:
            purposes.setdefault(label, []).append({"above_floor": "floor"}.get(purpose, purpose))
    found = {one.label: one for one in averages if one.method == method.method}
    several = len(method.settings) > 1
    return [
        Chosen(", ".join(of) if several else formatting.MISSING, found[label])
        for label, of in purposes.items()
        if label in found
    ]


def _columns(metrics: Sequence[str], terminal: Sequence[str]) -> list[Column]:
    """Returns a column a metric, then one a difference; the terminal has those of the selection."""
    found = [
        Column("label", "Setting", short="setting", value=lambda row: row.of.label, is_text=True),
        Column("purpose", "Selected for", short="selected for", is_text=True),
        Column("seeds", "Seeds", value=lambda row: row.of.seeds),
    ]
    for name in metrics:
        percent = name in _OF_ACCURACIES
        title = _NAMES[name] + (", %" if percent else "")
        write = in_percent if percent else formatting.nats
        short = title.replace(" ", "\n", 1).replace("accuracy", "acc.") if name in terminal else None
        found.append(_column(name, title[0].upper() + title[1:], write, short))
    for name in metrics:
        percent = name in _OF_ACCURACIES
        title = _OF_ACCURACIES[name] if percent else f"Difference of {_NAMES[name]}"
        write = formatting.points if percent else formatting.change
        short = title.lower().replace(", ", "\n") if percent else f"{_NAMES[name]}\ndifference"
        found.append(_column(f"{name}_against_plain", title, write, short if name in terminal else None))
    return found


def _column(name: str, title: str, write: Callable[[float], str], short: str | None) -> Column:
    return MeanColumn(name, title, write, short, attrgetter(f"of.{name}"))
