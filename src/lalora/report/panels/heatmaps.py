"""What two settings of a method do together, and what a curvature of some sources does for each source, as grids."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lalora.report.findings import Findings
from lalora.report.formatting import change, points
from lalora.report.look import BETTER, INK, LIGHT_PAGE, WORSE
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, remark
from lalora.report.rows import PLAIN, average, difference, plain_partner
from lalora.report.settings import choices, in_json, varied
from lalora.results.schema import Evaluation, Results, Run

COLOURS = LinearSegmentedColormap.from_list("better", [WORSE.light, LIGHT_PAGE, BETTER.light])

ALL = "all sources"
_KNOWN = "source_domains"
_NAMES = {"strength": "λ", _KNOWN: "curvature knows"}


@dataclass(frozen=True)
class Quantity:
    """A difference from plain LoRA: of accuracies in percentage points (`share`), else in nats per token.

    It counts what was `removed` of plain LoRA's, or what there is more; `up` says whether more is better.
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


class HeatmapsPanel(Panel):
    """The maps of every method, blue where it is better than plain LoRA and orange where it is worse."""

    name = "heatmaps"
    title = "Two settings at once"
    template = "heatmaps.html"

    def __init__(self, findings: Findings) -> None:
        """Finds the grids."""
        super().__init__(findings)
        self.maps = heat_maps(findings)

    @property
    def is_empty(self) -> bool:
        """Whether no method has a full grid."""
        return not self.maps

    def figure(self) -> Figure | None:
        """Returns all maps, two side by side, the number written in each cell."""
        if not self.maps:
            return None
        lines = -(-len(self.maps) // 2)
        with rc_context({"axes.grid": False}):
            wide = max(3.4 + 0.72 * max(len(one.columns) for one in self.maps), 6.5)
            heights = [1.4 + 0.42 * max(len(one.rows) for one in self.maps[2 * k : 2 * k + 2]) for k in range(lines)]
            figure = framed(wide * min(2, len(self.maps)), sum(heights) + 0.3)
            ratios = {"height_ratios": heights}
            grid = figure.subplots(lines, min(2, len(self.maps)), squeeze=False, gridspec_kw=ratios)
            for axes, one in zip(grid.flat, self.maps, strict=False):
                _draw(axes, one)
            for axes in grid.flat[len(self.maps) :]:
                axes.set_visible(False)
            remark(figure, "Against plain LoRA of the same seed, mean over seeds. Blue: better; orange: worse.")
        return figure


def _draw(axes: Axes, one: HeatMap) -> None:
    axes.imshow(
        [[one.worth(value) for value in row] for row in one.values], cmap=COLOURS, vmin=-1, vmax=1, aspect="auto"
    )
    for i, row in enumerate(one.values):
        for j, value in enumerate(row):
            axes.text(j, i, one.text(value), ha="center", va="center", color=INK, fontsize=9)
    axes.set_xticks(range(len(one.columns)), one.columns)
    axes.set_yticks(range(len(one.rows)), one.rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"{one.column_title} →")
    axes.set_ylabel(one.row_title)
    axes.set_title(f"{one.family}: {one.quantity.title}, {one.unit}")


def heat_maps(findings: Findings) -> list[HeatMap]:
    """Returns the maps of a study, method by method; none where no method has a full grid of two settings."""
    found: list[HeatMap] = []
    results, names = findings.results, findings.families
    for name in dict.fromkeys(names):
        runs = [run for run, family in zip(results.runs, names, strict=True) if family == name]
        if runs[0].method != PLAIN:
            title = name.replace(runs[0].method, results.names_of(runs[0].method).label, 1)
            found += [*_by_settings(results, title, runs), *_by_source(results, title, runs)]
    reaches: dict[str, float] = {}
    for one in found:
        sizes = [abs(value) for row in one.values for value in row if value is not None]
        reaches[one.quantity.title] = max([reaches.get(one.quantity.title, 0.0), *sizes])
    return [replace(one, reach=reaches[one.quantity.title]) for one in found]


def _by_settings(results: Results, family: str, runs: list[Run]) -> list[HeatMap]:
    keys = varied(runs)
    if len(keys) != 2:
        return []
    across = "strength" if "strength" in keys else keys[1]
    down = next(key for key in keys if key != across)
    rows, columns = choices(runs, down), choices(runs, across)
    cells = {
        (row, column): [
            run
            for run in runs
            if in_json(run.settings.get(down)) == row and in_json(run.settings.get(across)) == column
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
    rows = choices(runs, _KNOWN)
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
    members = {row: [run for run in runs if in_json(run.settings.get(_KNOWN)) == row] for row in rows}

    def quantity(name: str) -> Quantity:
        if share:
            return Quantity("accuracy on each source", lambda row: row.accuracy.get(name), share=True)
        return Quantity("KL removed on each source", lambda row: row.kl.get(name), removed=True)

    known = {row: ALL if set(json.loads(row) or sources) >= set(sources) else text for row, text in rows.items()}
    return [
        HeatMap(
            family=family,
            quantity=quantity(""),
            row_title=_NAMES[_KNOWN],
            column_title="measured on",
            rows=list(known.values()),
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
