"""The choice of a setting for each method, in words and numbers."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lalora.report import numbers
from lalora.report.schema import Chosen, Comparison, Selection, parse


def selection_tables(results: dict[str, Any]) -> list[Table]:
    """Returns what was chosen and how it compares, as tables for the terminal; none where nothing was chosen.

    Raises:
        LaloraError: the results have another format or lack a field.
    """
    selection = parse(results).selection
    if selection is None:
        return []
    chosen = Table(box=box.SIMPLE_HEAD, title=f"Chosen on validation rows, S_B with α = {selection.alpha:g}")
    for header in ("setting", *(words(name) for name in (selection.learning, selection.keeping)), "S_B", "chosen for"):
        chosen.add_column(header, justify="left" if header in ("setting", "chosen for") else "right")
    for method in selection.methods:
        for setting in method.settings:
            chosen.add_row(
                Text(setting.label),
                score(selection.learning, setting.learning),
                score(selection.keeping, setting.keeping),
                numbers.nats(setting.score),
                ", ".join(purposes(method, setting.label)),
            )
        chosen.add_section()
    if not selection.comparisons:
        return [chosen]
    compared = Table(box=box.SIMPLE_HEAD, title=f"Chosen settings against {selection.baseline}, scored rows")
    for header in ("setting", "metric", "difference", "95 % interval over seeds"):
        compared.add_column(header, justify="right" if header == "difference" else "left")
    for one in selection.comparisons:
        compared.add_row(Text(one.label), words(one.metric), change(one.metric, one.mean), interval(one))
    return [chosen, compared]


def purposes(method: Chosen, label: str) -> list[str]:
    """Returns what a setting was chosen for: `stability`, `plasticity`, `floor`."""
    named = (("stability", method.stability), ("plasticity", method.plasticity), ("floor", method.above_floor))
    return [purpose for purpose, taken in named if taken == label]


def interval(one: Comparison) -> str:
    """Returns the interval of a difference, and whether it decides anything."""
    if one.low is None or one.high is None:
        return f"{one.seeds} seed: no interval"
    verdict = "" if one.sure else ": undecided"
    return f"{change(one.metric, one.low)} to {change(one.metric, one.high)}, {one.seeds} seeds{verdict}"


def words(metric: str) -> str:
    """Returns the name of a metric as people read it."""
    return metric.replace("_kl", " KL").replace("heldout", "held-out").replace("_", " ")


def heading(metric: str) -> str:
    """Returns a metric as a column is called: Source KL."""
    name = words(metric)
    return name[0].upper() + name[1:]


def score(metric: str, value: float | None) -> str:
    """Returns a value of a metric: an accuracy in percent, anything else in nats per token."""
    return numbers.accuracy(value) if metric.endswith("accuracy") else numbers.nats(value)


def change(metric: str, value: float | None) -> str:
    """Returns a difference of a metric: of accuracies in percentage points."""
    if metric.endswith("accuracy") and value is not None:
        return f"{numbers.points(value)} pp"
    return numbers.change(value)


def criteria(selection: Selection) -> str:
    """Returns by what was chosen, in a sentence."""
    floor = missing = ""
    if selection.floor is not None:
        floor = f"; floor: most learned with {words(selection.keeping)} at {selection.floor:g} or better"
    if selection.left_out:
        missing = f" Left out for want of a seed or a finite number: {', '.join(selection.left_out)}."
    score_of_both = f"S_B = {selection.alpha:g}·L' + {1 - selection.alpha:g}·F'"
    return (
        f"Learning by {words(selection.learning)}, keeping by {words(selection.keeping)}, both on validation rows that "
        f"no method saw and no table above scores. Stability: keeps most; plasticity: highest {score_of_both}, "
        "L' and F' brought to 0 … 1 within each method's own settings"
        f"{floor}.{missing}"
    )
