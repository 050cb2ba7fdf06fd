"""Where runs went, evaluation by evaluation, and their places in each view of the trade-off; seeds are averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lalora.report.rows import difference
from lalora.report.seeds import Spread, spread
from lalora.results.pareto import pareto_front
from lalora.results.schema import Evaluation

Measured = dict[str, float | None]
"""What the trade-off shows of one evaluation, by measure."""

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


@dataclass(frozen=True)
class Version:
    """What the seeds of a label measured at one value of a knob after training."""

    knob: float
    stop: Stop


def measures(base: Evaluation, row: Evaluation) -> Measured:
    """Returns what the trade-off shows of an evaluation; losses and KL in nats per token, accuracies from 0 to 1."""
    return {
        "step": row.step,
        "target_loss": row.target_loss,
        "gain": difference(base.target_loss, row.target_loss),
        "source_loss": row.source_loss,
        "source_rise": difference(row.source_loss, base.source_loss),
        "source_kl": row.source_kl,
        "heldout_kl": row.heldout_kl,
        "source_accuracy": row.source_accuracy,
        "target_accuracy": row.target_accuracy,
    }


def means(seeds: Sequence[Mapping[Any, Measured]]) -> list[Stop]:
    """Returns the evaluations that all seeds have, averaged; each has its own by what tells them apart."""
    found = []
    for key, first in seeds[0].items():
        if all(key in rows for rows in seeds):
            names = [name for name in first if name != "step"]
            values = {name: spread(rows[key][name] for rows in seeds) for name in names}
            found.append(Stop(int(first["step"] or 0), values))
    return found


def fronts(grids: Sequence[str], ends: Sequence[tuple[Spread, Spread] | None], up: bool) -> list[list[int]]:
    """Returns each grid's Pareto front as places among the labels, if it has settings enough.

    Right is better; upwards is, too, with `up`, and else downwards.
    """
    members: dict[str, list[int]] = {}
    points: dict[int, tuple[float, float]] = {}
    for place, (grid, end) in enumerate(zip(grids, ends, strict=True)):
        if end is not None:
            members.setdefault(grid, []).append(place)
            points[place] = (end[0].mean, end[1].mean if up else -end[1].mean)
    enough = [places for places in members.values() if len(places) >= ENOUGH_SETTINGS]
    found = [[places[k] for k in pareto_front([points[place] for place in places])] for places in enough]
    return [places for places in found if len(places) > 1]
