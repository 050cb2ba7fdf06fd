"""The setting selected for each method, in words and numbers."""

from collections.abc import Sequence
from functools import partial

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.panels.panel import Panel
from lalora.results.schema import Comparison, Selected, Selection, Setting

COMPARED = (
    Column("label", "Setting", short="setting", is_text=True),
    Column("metric", "Metric", lambda metric: words(metric), "metric", is_text=True),
    Column("mean", "Difference", str, "difference", lambda one: change(one.metric, one.mean)),
    Column("interval", "95 % interval over seeds", str, "95 % interval over seeds", lambda one: interval(one)),
)


class SelectionPanel(Panel):
    """What was selected on validation rows, and how it compares with plain LoRA on the scored ones."""

    name = "selection"
    title = "Selected settings"

    def tables(self) -> Sequence[Table]:
        """Returns what was selected and how it compares, none where nothing was."""
        selection = self.findings.results.selection
        if selection is None:
            return []
        found = [
            Table(
                _columns(selection),
                [("", method.settings) for method in selection.methods],
                f"Selected on validation rows, S_B with α = {selection.alpha:g}",
                prose=criteria(selection),
            )
        ]
        if selection.comparisons:
            prose = (
                f"Against {selection.baseline} on the scored rows, paired by seed, each with the interval of that "
                f"difference alone. Which are better is decided by p < 0.05, corrected by Holm for {_tests(selection)}."
            )
            title = f"Selected settings against {selection.baseline}, scored rows"
            found.append(Table(COMPARED, [("", selection.comparisons)], title, prose=prose))
        return found


def purposes(methods: Sequence[Selected], setting: Setting) -> str:
    """Returns what a setting was selected for: `stability`, `plasticity`, `floor`."""
    method = next(method for method in methods if setting in method.settings)
    named = (("stability", method.stability), ("plasticity", method.plasticity), ("floor", method.above_floor))
    return ", ".join(purpose for purpose, label in named if label == setting.label)


def interval(one: Comparison) -> str:
    """Returns the interval of a difference, and whether it decides anything."""
    if one.low is None or one.high is None:
        return f"{one.seeds} seed: no interval"
    verdict = "" if one.sure else ": undecided"
    return f"{change(one.metric, one.low)} to {change(one.metric, one.high)}, {one.seeds} seeds{verdict}"


def words(metric: str) -> str:
    """Returns the name of a metric as people read it."""
    return metric.replace("_kl", " KL").replace("heldout", "held-out").replace("_", " ")


def value(metric: str, number: float | None) -> str:
    """Returns a value of a metric: an accuracy in percent, anything else in nats per token."""
    return formatting.accuracy(number) if metric.endswith("accuracy") else formatting.nats(number)


def change(metric: str, number: float | None) -> str:
    """Returns a difference of a metric: of accuracies in percentage points."""
    if metric.endswith("accuracy") and number is not None:
        return f"{formatting.points(number)} pp"
    return formatting.change(number)


def criteria(selection: Selection) -> str:
    """Returns by what was selected, in a sentence."""
    floor = missing = zero = ""
    if any(method.method == "lalora" for method in selection.methods) and selection.baseline is not None:
        zero = f", {selection.baseline} as λ = 0 of the first LaLoRA's"
    if selection.floor is not None:
        floor = f"; floor: most learned with {words(selection.keeping)} at {selection.floor:g} or better"
    if selection.left_out:
        missing = f" Left out for want of a seed or a finite number: {', '.join(selection.left_out)}."
    score_of_both = f"S_B = {selection.alpha:g}·L' + {1 - selection.alpha:g}·F'"
    return (
        f"Learning by {words(selection.learning)}, keeping by {words(selection.keeping)}, both on validation rows that "
        f"no method saw and no table above scores. Stability: keeps most; plasticity: highest {score_of_both}, "
        f"L' and F' scaled to 0 … 1 within each method's own settings{zero}"
        f"{floor}.{missing}"
    )


def _tests(selection: Selection) -> str:
    tests = sum(one.p is not None for one in selection.comparisons)
    return "1 comparison" if tests == 1 else f"{tests} comparisons"


def _columns(selection: Selection) -> list[Column]:
    measured = [
        Column(field, _heading(metric), partial(value, metric), words(metric))
        for field, metric in (("learning", selection.learning), ("keeping", selection.keeping))
    ]
    return [
        Column("label", "Setting", short="setting", is_text=True),
        *measured,
        Column("score", "S_B", formatting.nats, "S_B"),
        Column(
            "purposes",
            "Selected for",
            lambda text: text or formatting.MISSING,
            "selected for",
            partial(purposes, selection.methods),
            is_text=True,
        ),
    ]


def _heading(metric: str) -> str:
    name = words(metric)
    return name[0].upper() + name[1:]
