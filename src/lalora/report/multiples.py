"""The curves of runs that differ in one setting, such as the rank, in which plain LoRA itself varies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lalora.report.findings import Findings
from lalora.report.look import Look, looks
from lalora.report.rows import PLAIN
from lalora.report.series import Band, Curve, bands, forgetting_and_learning
from lalora.report.settings import choices, in_json
from lalora.report.varying import Varying, varying
from lalora.results.schema import Run


@dataclass(frozen=True)
class Value:
    """A value of the setting as labels write it, and what follows it in all runs: `rank=4` and `alpha=8`."""

    text: str
    following: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """A method with all that stays the same while the setting varies, such as its λ.

    `places` are those of its labels by the values' places; `look` tells it from others, `hue` is its method's colour.
    """

    name: str
    places: Mapping[int, int]
    look: Look
    hue: str


@dataclass(frozen=True)
class Multiples:
    """Every variant at every value of the setting; a line is a mean over seeds and over nothing else."""

    findings: Findings
    setting: str
    values: Sequence[Value]
    variants: Sequence[Variant]

    @cached_property
    def curves(self) -> tuple[Curve, Curve]:
        """How forgetting and learning were measured."""
        return forgetting_and_learning(self.findings.results)

    def at(self, value: int, curve: Curve) -> list[tuple[Variant, Band]]:
        """Returns the lines of one value: all variants that were run with it."""
        return [(one, self._bands[curve][one.places[value]]) for one in self.variants if value in one.places]

    def of(self, variant: Variant, curve: Curve) -> list[tuple[int, Band]]:
        """Returns the lines of one variant: all values that it was run with, in their order."""
        return [(value, self._bands[curve][variant.places[value]]) for value in sorted(variant.places)]

    def first(self, variant: Variant, value: int) -> int:
        """Returns the first run of a variant at a value."""
        return self.findings.seeds[variant.places[value]].first

    @cached_property
    def _bands(self) -> dict[Curve, list[Band]]:
        return {curve: bands(self.findings.results, self.findings.seeds, curve) for curve in self.curves}


def multiples(findings: Findings) -> Multiples | None:
    """Returns the curves by the one setting in which plain LoRA varies, of all variants run with several of its values.

    None where plain LoRA varies in no setting or in several, where no other method varies in it too, and where labels
    differ in nothing that would tell their lines apart.
    """
    runs = findings.results.runs
    setting = varying([run for run in runs if run.method == PLAIN])
    if setting is None:
        return None
    members = _members(findings, setting)
    plain = [runs[findings.seeds[next(iter(at.values()))].first].method == PLAIN for at in members]
    if len(members) < 2 or not any(plain):
        return None
    firsts = {place: findings.seeds[place].first for at in members for place in at.values()}
    shown = [runs[first] for first in firsts.values()]
    order = {written: place for place, written in enumerate(choices(shown, setting.key))}
    # A line looks the same at every value; its method's colour is that of a run without a strength.
    alike = _looks(findings, (setting.name(run) for run in runs))
    hues = _looks(findings, findings.families, strengths=False)
    variants = []
    for at in members:
        places = {order[written]: place for written, place in at.items()}
        first = firsts[next(iter(at.values()))]
        variants.append(Variant(setting.name(runs[first]), places, alike[first], hues[first].light))
    return Multiples(findings, setting.key, _values(setting, shown), variants)


def _members(findings: Findings, setting: Varying) -> list[dict[str, int]]:
    """Returns each variant's labels by value, as places; none where a variant has two labels of one value."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for place, seeds in enumerate(findings.seeds):
        run = findings.results.runs[seeds.first]
        if setting.key not in run.settings:
            continue
        at = found.setdefault((run.method, setting.name(run), setting.rest(run)), {})
        if at.setdefault(in_json(run.settings[setting.key]), place) != place:
            return []
    return [at for at in found.values() if len(at) > 1]


def _values(setting: Varying, runs: Sequence[Run]) -> list[Value]:
    found = []
    for written, text in choices(runs, setting.key).items():
        alike = [run for run in runs if in_json(run.settings[setting.key]) == written]
        keys = [key for key in setting.following if all(key in setting.following_in(run) for run in alike)]
        following = [f"{key}={text}" for key in keys for text in choices(alike, key).values()]
        found.append(Value(f"{setting.key}={text}", tuple(following)))
    return found


def _looks(findings: Findings, labels: Iterable[str], strengths: bool = True) -> list[Look]:
    """Returns how runs look if those of one label are to look the same."""
    runs = [
        run.model_copy(update={"label": label, "strength": run.strength if strengths else None})
        for run, label in zip(findings.results.runs, labels, strict=True)
    ]
    return looks(findings.results.model_copy(update={"runs": runs}), findings.families)
