"""What each setting of a method gives over plain LoRA, as heat maps: two settings at once, or a curvature's sources."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lalora.report.findings import Findings
from lalora.report.heat_map import HeatMap, Quantity, Scale
from lalora.report.rows import PLAIN, average, difference, plain_partner
from lalora.report.settings import bound, choices, in_json, varied
from lalora.results.alike import SEED, alike, require_alike
from lalora.results.schema import Results, Run

ALL = "all sources"
_KNOWN = "source_domains"
_ROWS = "source_rows"
_BATCH = "source_batch_size"
_NAMES = {"strength": "λ", _KNOWN: "curvature knows", _ROWS: "rows per source"}
_LEAST = 2


@dataclass(frozen=True)
class _Family:
    """The runs of one method of one study, by a name of theirs."""

    results: Results
    title: str
    runs: list[Run]

    @property
    def knob(self) -> str:
        """The setting that trades learning against forgetting."""
        return self.results.names_of(self.runs[0].method).knob

    @property
    def accurate(self) -> bool:
        """Whether accuracies were measured."""
        return any(run.final is not None and run.final.source_accuracy is not None for run in self.runs)

    @property
    def sources(self) -> list[str]:
        """The data sets that a curvature can know and that were measured."""
        named = [
            *self.results.recipe.get("base", {}).get("sources", {}),
            *(name for run in self.runs for name in run.settings.get(_KNOWN) or []),
        ]
        base = self.results.base
        return [name for name in dict.fromkeys(named) if name in (base.accuracy if self.accurate else base.kl)]

    def names(self, runs: Sequence[Run], key: str) -> dict[str, str]:
        """Returns the values of a setting in JSON, with how a map calls them."""
        found = choices(runs, key)
        if key == _KNOWN:
            sources = set(self.sources)
            return {
                value: ALL if set(json.loads(value) or sources) >= sources else name for value, name in found.items()
            }
        sizes = {run.settings.get(_BATCH) for run in runs}
        if key == _ROWS and len(sizes) == 1 and all(map(str.isdigit, found)):
            (size,) = sizes
            return {value: f"{name} ({_batches(int(value), size)})" for value, name in found.items()} if size else found
        return found

    def at_each(self, keys: Sequence[str]) -> Iterator[tuple[str, list[Run]]]:
        """Yields the runs at each combination of settings, with the settings as text."""
        names = {key: self.names(self.runs, key) for key in keys}
        for values in itertools.product(*names.values()):
            runs = [run for run in self.runs if _at(run, dict(zip(keys, values, strict=True)))]
            told = {key: names[key][value] for key, value in zip(keys, values, strict=True)}
            if runs:
                yield ", ".join(_told(key, value) for key, value in told.items()), runs


@dataclass(frozen=True)
class _Column:
    """A column of a map: its name, what it shows, and at which settings."""

    name: str
    quantity: Quantity
    at: dict[str, str]


@dataclass(frozen=True)
class _Axes:
    """What goes down and across in a map; the mean of a row is over settings `tied` to the columns, too."""

    down: str
    column_title: str
    columns: list[_Column]
    over: str
    tied: frozenset[str] = frozenset()


def heat_maps(findings: Findings) -> list[list[HeatMap]]:
    """Returns the maps of a study in groups that are read together.

    A map's runs share every setting that it does not name; one with data in fewer than two rows or columns is left out.
    """
    groups = [group for family in _families(findings) for group in [_by_source(family), *_by_settings(family)] if group]
    scales = _scales([one for group in groups for one in group])
    return [[replace(one, scale=scales[one.quantity.title]) for one in group] for group in groups]


def _families(findings: Findings) -> list[_Family]:
    """Returns the runs of each method; where several studies are shown as one, of each study by itself."""
    results = findings.results
    members: dict[tuple[str, str], list[Run]] = {}
    for run, family in zip(results.runs, findings.families, strict=True):
        if run.method != PLAIN:
            members.setdefault((run.name.rpartition("/")[0], family), []).append(run)
    several = len({study for study, _ in members}) > 1
    found = []
    for (study, family), runs in members.items():
        title = family.replace(runs[0].method, results.names_of(runs[0].method).label, 1)
        found.append(_Family(results, f"{title} ({study})" if several else title, runs))
    return found


def _by_source(family: _Family) -> list[HeatMap]:
    """Returns what a curvature of some sources does for each of them, a map for each value of all other settings."""
    keys = varied(family.runs, first=_KNOWN)
    if _KNOWN not in keys:
        return []
    columns = [_Column(name, _on(name, family.accurate), {}) for name in family.sources]
    axes = _Axes(_KNOWN, "measured on", columns, over="data sets")
    maps = [_map(family, axes, runs, fixed, keys) for fixed, runs in family.at_each(_fixed(family, keys, _KNOWN))]
    return [one for one in maps if one is not None]


def _by_settings(family: _Family) -> list[list[HeatMap]]:
    """Returns what two settings do together, learning and forgetting, for each value of all other settings."""
    keys = varied(family.runs)
    if len(keys) < _LEAST:
        return []
    across = family.knob if family.knob in keys else next(key for key in reversed(keys) if key != _KNOWN)
    down = min((key for key in keys if key != across), key=lambda key: key == _KNOWN)
    groups = []
    for fixed, runs in family.at_each(_fixed(family, keys, down, across)):
        tied = bound(runs, to=across)
        over = " and ".join(map(_name, [across, *tied]))
        found = []
        for quantity in _learning_and_forgetting(family.accurate):
            columns = [_Column(name, quantity, {across: value}) for value, name in family.names(runs, across).items()]
            axes = _Axes(down, _name(across), columns, over, frozenset({across, *tied}))
            found.append(_map(family, axes, runs, fixed, keys))
        groups.append([one for one in found if one is not None])
    return groups


def _map(family: _Family, axes: _Axes, runs: Sequence[Run], fixed: str, keys: Sequence[str]) -> HeatMap | None:
    """Returns the map of runs that share all settings but those of its axes, None where too little was measured."""
    rows = family.names(runs, axes.down)
    cells: dict[tuple[str, str], list[float]] = {}
    for value in rows:
        of_row = [run for run in runs if _at(run, {axes.down: value})]
        require_alike(of_row, SEED | axes.tied)
        for column in axes.columns:
            of_cell = [run for run in of_row if _at(run, column.at)]
            if found := _benefits(family.results, of_cell, column.quantity, keys):
                cells[value, column.name] = found
    down = [value for value in rows if value in {row for row, _ in cells}]
    across = [column.name for column in axes.columns if column.name in {name for _, name in cells}]
    if min(len(down), len(across)) < _LEAST:
        return None
    counts = [len(values) for values in cells.values()]
    own = itertools.product(enumerate(down), enumerate(across))
    return HeatMap(
        family=family.title,
        fixed=fixed,
        quantity=axes.columns[0].quantity,
        row_title=_name(axes.down),
        column_title=axes.column_title,
        rows=[rows[value] for value in down],
        columns=across,
        values=[[average(cells.get((value, name), [])) for name in across] for value in down],
        seeds=(min(counts), max(counts)),
        over=axes.over,
        framed=frozenset((i, j) for (i, value), (j, name) in own if value == in_json([name])),
    )


def _benefits(results: Results, runs: Sequence[Run], quantity: Quantity, keys: Sequence[str]) -> list[float]:
    """Returns the differences of runs that differ in their seed alone from plain LoRA of one setting."""
    require_alike(runs)
    pairs = [(run, plain) for run in runs if run.final and (plain := plain_partner(results, run, keys))]
    if not pairs:
        return []
    # Where plain LoRA has not finished with every seed yet, another setting of it must not stand in for some.
    shared = [sum(run.settings.get(key) == plain.settings.get(key) for key in keys) for run, plain in pairs]
    _, closest = pairs[shared.index(max(shared))]
    more = [_difference(quantity, run, plain) for run, plain in pairs if alike(plain, closest)]
    return [value for value in more if value is not None]


def _difference(quantity: Quantity, run: Run, plain: Run) -> float | None:
    if run.final is None or plain.final is None:
        return None
    more = difference(quantity.read(run.final), quantity.read(plain.final))
    return -more if quantity.removed and more is not None else more


def _on(name: str, accurate: bool) -> Quantity:
    if accurate:
        return Quantity("accuracy on each source", lambda row: row.accuracy.get(name), share=True)
    return Quantity("KL removed on each source", lambda row: row.kl.get(name), removed=True)


def _learning_and_forgetting(accurate: bool) -> list[Quantity]:
    if accurate:
        return [
            Quantity("learning (target accuracy)", lambda row: row.target_accuracy, share=True),
            Quantity("forgetting (source accuracy)", lambda row: row.source_accuracy, share=True),
        ]
    return [
        Quantity("learning (target loss)", lambda row: row.target_loss, up=False),
        Quantity("forgetting (KL on source removed)", lambda row: row.source_kl, removed=True),
    ]


def _scales(maps: Sequence[HeatMap]) -> dict[str, Scale]:
    """Returns by its title the scale of each quantity."""
    found = {}
    for title in {one.quantity.title for one in maps}:
        alike = [one for one in maps if one.quantity.title == title]
        sizes = [abs(value) for one in alike for row in one.values for value in row if value is not None]
        bars = [0.0, *(bar for one in alike for bar in one.bars or [])]
        found[title] = Scale(max(sizes), min(bars), max(bars))
    return found


def _fixed(family: _Family, keys: Sequence[str], *axes: str) -> list[str]:
    """Returns the settings that a map holds fixed, the knob first: of those that are the same everywhere it alone."""
    rest = [key for key in keys if key not in axes]
    same = len(choices(family.runs, family.knob)) == 1 and family.runs[0].settings.get(family.knob) is not None
    named = [*rest, family.knob] if same and family.knob not in axes else rest
    return sorted(named, key=lambda key: key != family.knob)


def _at(run: Run, settings: Mapping[str, str]) -> bool:
    return all(in_json(run.settings.get(key)) == value for key, value in settings.items())


def _name(key: str) -> str:
    return _NAMES.get(key, key)


def _told(key: str, value: str) -> str:
    return f"{_name(key)} {value}" if key == _KNOWN else f"{_name(key)} = {value}"


def _batches(rows: int, size: int) -> str:
    number = -(-rows // size)
    return f"{number} batch" if number == 1 else f"{number} batches"
