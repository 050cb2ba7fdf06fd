"""Where a run went, evaluation by evaluation, and its place in each view of the trade-off; seeds are averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lalora.report.look import families
from lalora.report.schema import Evaluation, Results
from lalora.report.seeds import Seeds, Spread, by_label, spread
from lalora.report.summary import difference

Pair = tuple[float, float]

ENOUGH_SETTINGS = 3
"""A front through fewer settings of a method tells nothing that their marks do not."""


@dataclass(frozen=True)
class View:
    """One way to look at the trade-off: the measures to the right and upwards, and whether up is better."""

    x: str
    y: str
    up: bool = False


VIEWS = {
    "source_kl": View("gain", "source_kl"),
    "source_rise": View("gain", "source_rise"),
    "heldout_kl": View("gain", "heldout_kl"),
    "accuracy": View("target_accuracy", "source_accuracy", up=True),
}


@dataclass(frozen=True)
class Stop:
    """What the seeds of a label measured at one step, by measure."""

    step: int
    values: dict[str, Spread | None]

    def at(self, view: View) -> tuple[Spread, Spread] | None:
        """Returns where this is in a view, None where that was not measured."""
        x, y = self.values[view.x], self.values[view.y]
        return None if x is None or y is None else (x, y)


def measures(base: Evaluation, row: Evaluation) -> dict[str, float | None]:
    """Returns what the trade-off tells of an evaluation; losses and KL in nats per token, accuracies from 0 to 1."""
    return {
        "target_loss": row.target_loss,
        "gain": difference(base.target_loss, row.target_loss),
        "source_loss": row.source_loss,
        "source_rise": difference(row.source_loss, base.source_loss),
        "source_kl": row.source_kl,
        "heldout_kl": row.heldout_kl,
        "source_accuracy": row.source_accuracy,
        "target_accuracy": row.target_accuracy,
    }


def path(results: Results, seeds: Seeds) -> list[Stop]:
    """Returns the evaluations at the steps that all seeds of a label share, averaged."""
    return _averaged(results, [{row.step: row for row in results.runs[run].points} for run in seeds.runs])


def scaled(results: Results, seeds: Seeds) -> list[Stop]:
    """Returns what the adapters gave when scaled after training, by the factors that all seeds of a label share."""
    return _averaged(results, [{row.alpha: row for row in results.runs[run].scaled} for run in seeds.runs])


def softened(results: Results, seeds: Seeds) -> list[Stop]:
    """Returns what the adapters gave when softened after training, by the strengths that all seeds of a label share."""
    every = [{row.strength or 0.0: row for row in results.runs[run].softened} for run in seeds.runs]
    return _averaged(results, [dict(sorted(rows.items())) for rows in every])


def _averaged(results: Results, every: Sequence[Mapping[Any, Evaluation]]) -> list[Stop]:
    found = []
    for key, row in every[0].items():
        if all(key in rows for rows in every):
            told = [measures(results.base, rows[key]) for rows in every]
            found.append(Stop(row.step, {name: spread(one[name] for one in told) for name in told[0]}))
    return found


def end(results: Results, seeds: Seeds, view: View) -> tuple[Spread, Spread] | None:
    """Returns where the seeds of a label ended in a view, None where that was not measured."""
    stops = path(results, seeds)
    return stops[-1].at(view) if stops else None


def with_accuracies(results: Results) -> bool:
    """Returns whether some run measured both accuracies at its end."""
    finals = [run.final for run in results.runs if run.final is not None]
    return any(final.source_accuracy is not None and final.target_accuracy is not None for final in finals)


def fronts(results: Results, view: View) -> list[list[int]]:
    """Returns each method's front, if it has settings enough: those that no other beats, by place among the labels."""
    names = families(results)
    ends: dict[str, list[tuple[int, Pair]]] = {}
    for place, seeds in enumerate(by_label(results)):
        if found := end(results, seeds, view):
            ends.setdefault(names[seeds.first], []).append((place, (found[0].mean, found[1].mean)))
    enough = [members for members in ends.values() if len(members) >= ENOUGH_SETTINGS]
    through = [[members[k][0] for k in unbeaten([pair for _, pair in members], view.up)] for members in enough]
    return [places for places in through if len(places) > 1]


def unbeaten(pairs: Sequence[Pair], up: bool) -> list[int]:
    """Returns the places of the pairs that no other beats, from left to right.

    One beats another that is right of it or level, and better or equal upwards (`up`) or downwards, and not the same.
    """
    better = [(x, y if up else -y) for x, y in pairs]
    kept = [
        place
        for place, (x, y) in enumerate(better)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in better)
    ]
    return sorted(kept, key=lambda place: better[place])
