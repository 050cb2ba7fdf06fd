"""What two settings of a method do together, and what a curvature of some sources does for each source, as grids."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lalora.methods.catalogue import label_of
from lalora.report.look import families
from lalora.report.numbers import change, points
from lalora.report.schema import Evaluation, Results, Run
from lalora.report.summary import PLAIN, average, difference, plain_partner

ALL = "all sources"
_KNOWN = "source_domains"
_NAMES = {"strength": "λ", _KNOWN: "curvature knows"}


@dataclass(frozen=True)
class Quantity:
    """A difference from plain LoRA: of accuracies in percentage points (`share`), else in nats per token.

    It is told as what was `removed` of plain LoRA's, or as what there is more; `up` tells whether more is better.
    """

    title: str
    read: Callable[[Evaluation], float | None]
    up: bool = True
    removed: bool = False
    share: bool = False


@dataclass(frozen=True)
class HeatMap:
    """A grid of differences from plain LoRA, averaged over seeds; None where nothing was measured.

    `reach` is the largest difference in all maps of the same quantity, so that their colours can be compared.
    """

    family: str
    quantity: Quantity
    row_title: str
    column_title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    reach: float = 0.0

    @property
    def unit(self) -> str:
        """The unit of all cells."""
        return "pp" if self.quantity.share else "nats per token"

    def text(self, value: float | None) -> str:
        """Returns a cell as written."""
        return points(value) if self.quantity.share else change(value)

    def worth(self, value: float | None) -> float:
        """Returns a cell from -1, worst, to 1, best; 0 is as good as plain LoRA."""
        if value is None or self.reach == 0:
            return 0.0
        return (value if self.quantity.up else -value) / self.reach


def heat_maps(results: Results) -> list[HeatMap]:
    """Returns the maps of a study, method by method; none where no method has a full grid of two settings."""
    found: list[HeatMap] = []
    names = families(results)
    for name in dict.fromkeys(names):
        runs = [run for run, family in zip(results.runs, names, strict=True) if family == name]
        if runs[0].method != PLAIN:
            title = name.replace(runs[0].method, _label(runs[0]), 1)
            found += [*_by_settings(results, title, runs), *_by_source(results, title, runs)]
    reaches: dict[str, float] = {}
    for one in found:
        sizes = [abs(value) for row in one.values for value in row if value is not None]
        reaches[one.quantity.title] = max([reaches.get(one.quantity.title, 0.0), *sizes])
    return [replace(one, reach=reaches[one.quantity.title]) for one in found]


def varied(runs: Sequence[Run]) -> list[str]:
    """Returns the settings that differ among runs, but for seeds and those that another one determines.

    Of two that determine each other the strength stays, else the first.
    """
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.settings) if key != "seed"]
    values = {key: [_written(run.settings.get(key)) for run in runs] for key in keys}
    differing = [key for key in keys if len(set(values[key])) > 1]
    # Those that tell most apart first: what comes after one that determines it is told already.
    differing.sort(key=lambda key: (-len(set(values[key])), key != "strength"))
    kept: list[str] = []
    for key in differing:
        if not any(_determines(values[other], values[key]) for other in kept):
            kept.append(key)
    return kept


def _determines(one: list[str], other: list[str]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one))


def _by_settings(results: Results, family: str, runs: list[Run]) -> list[HeatMap]:
    keys = varied(runs)
    if len(keys) != 2:
        return []
    across = "strength" if "strength" in keys else keys[1]
    down = next(key for key in keys if key != across)
    rows, columns = _choices(runs, down), _choices(runs, across)
    cells = {
        (row, column): [
            run
            for run in runs
            if _written(run.settings.get(down)) == row and _written(run.settings.get(across)) == column
        ]
        for row, column in itertools.product(rows, columns)
    }
    if not all(cells.values()):
        return []
    if _accuracies(runs):
        quantities = [
            Quantity("source accuracy", lambda row: row.source_accuracy, share=True),
            Quantity("target accuracy", lambda row: row.target_accuracy, share=True),
        ]
    else:
        quantities = [
            Quantity("KL on source removed", lambda row: row.source_kl, removed=True),
            Quantity("target loss against plain LoRA", lambda row: row.target_loss, up=False),
        ]
    return [
        HeatMap(
            family=family,
            quantity=quantity,
            row_title=_NAMES.get(down, down),
            column_title=_NAMES.get(across, across),
            rows=list(rows.values()),
            columns=list(columns.values()),
            values=[[_mean(results, cells[row, column], quantity, keys) for column in columns] for row in rows],
        )
        for quantity in quantities
    ]


def _by_source(results: Results, family: str, runs: list[Run]) -> list[HeatMap]:
    rows = _choices(runs, _KNOWN)
    if len(rows) < 2:
        return []
    named = [
        *results.recipe.get("base", {}).get("sources", {}),
        *(n for r in runs for n in r.settings.get(_KNOWN) or []),
    ]
    share = _accuracies(runs)
    sources = [name for name in dict.fromkeys(named) if name in (results.base.accuracy if share else results.base.kl)]
    if not sources:
        return []
    members = {row: [run for run in runs if _written(run.settings.get(_KNOWN)) == row] for row in rows}

    def quantity(name: str) -> Quantity:
        if share:
            return Quantity("accuracy on each source", lambda row: row.accuracy.get(name), share=True)
        return Quantity("KL removed on each source", lambda row: row.kl.get(name), removed=True)

    told = {row: ALL if set(json.loads(row) or sources) >= set(sources) else text for row, text in rows.items()}
    return [
        HeatMap(
            family=family,
            quantity=quantity(""),
            row_title=_NAMES[_KNOWN],
            column_title="measured on",
            rows=list(told.values()),
            columns=sources,
            values=[[_mean(results, members[row], quantity(name), []) for name in sources] for row in rows],
        )
    ]


def _mean(results: Results, runs: list[Run], quantity: Quantity, keys: Sequence[str]) -> float | None:
    return average(_against(run, plain_partner(results, run, keys), quantity) for run in runs)


def _against(run: Run, plain: Run | None, quantity: Quantity) -> float | None:
    if run.final is None or plain is None or plain.final is None:
        return None
    more = difference(quantity.read(run.final), quantity.read(plain.final))
    return -more if quantity.removed and more is not None else more


def _accuracies(runs: list[Run]) -> bool:
    return any(run.final is not None and run.final.source_accuracy is not None for run in runs)


def _label(run: Run) -> str:
    return label_of(run.method)


def _choices(runs: list[Run], key: str) -> dict[str, str]:
    """Returns the values of a setting in JSON with how they read, numbers by size and the rest as they come."""
    values: dict[str, Any] = {_written(value): value for run in runs for value in [run.settings.get(key)]}
    if all(isinstance(value, (int, float)) for value in values.values()):
        values = dict(sorted(values.items(), key=lambda item: item[1]))
    return {written: _read(value) for written, value in values.items()}


def _written(value: Any) -> str:
    return json.dumps(value)


def _read(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
