"""What a study found, each thing worked out once and shared by every panel of its report."""

from collections.abc import Sequence
from functools import cached_property

from lalora.report.averages import Average, averaged, best
from lalora.report.fences import Fences, fences
from lalora.report.look import Look, families, looks, rival_looks
from lalora.report.rows import Row, rows
from lalora.report.seeds import Seeds, Spread, by_label
from lalora.report.trajectories import VIEWS, Measured, Stop, Version, View, fronts, means, measures
from lalora.results.schema import Evaluation, Results, Run
from lalora.results.select import grid_of

_MOST_WAYS = 8


class Findings:
    """The results of a study with all that several panels need of them; lists follow the runs, or their labels."""

    def __init__(self, results: Results) -> None:
        """Keeps the results; what is worked out from them is when it is first asked for."""
        self.results = results

    @cached_property
    def labels(self) -> list[str]:
        """What each run is called, with its seed where the study has several."""
        several = self.results.seeds > 1
        return [
            f"{run.label}, seed {run.seed}" if several and run.seed is not None else run.label
            for run in self.results.runs
        ]

    @cached_property
    def seeds(self) -> list[Seeds]:
        """The runs by method and label, in the order of their first runs."""
        return by_label(self.results)

    @cached_property
    def several(self) -> bool:
        """Whether some label has more than one seed."""
        return any(len(seeds.runs) > 1 for seeds in self.seeds)

    @cached_property
    def families(self) -> list[str]:
        """What the runs of one hue share."""
        return families(self.results)

    @cached_property
    def looks(self) -> list[Look]:
        """How each run looks in every plot."""
        return looks(self.results, self.families)

    @cached_property
    def rows(self) -> list[Row]:
        """The base model's row, then one a run."""
        return rows(self.results, self.labels)

    @cached_property
    def averages(self) -> list[Average]:
        """The rows of each label, averaged over its seeds."""
        return [averaged(seeds.label, [self.rows[1 + run] for run in seeds.runs]) for seeds in self.seeds]

    @cached_property
    def best(self) -> Average | None:
        """The best compromise between learning and forgetting."""
        return best(self.averages)

    @cached_property
    def base(self) -> Measured:
        """What the trade-off shows of the base model."""
        return measures(self.results.base, self.results.base)

    @cached_property
    def trajectories(self) -> list[dict[int, Measured]]:
        """What the trade-off shows of each run, by step."""
        return [{row.step: self._measured(row) for row in run.points} for run in self.results.runs]

    @cached_property
    def paths(self) -> list[list[Stop]]:
        """The evaluations at the steps that all seeds of a label share, averaged; the last is where it ended."""
        return [means([self.trajectories[run] for run in seeds.runs]) for seeds in self.seeds]

    @cached_property
    def scaled(self) -> list[list[Stop]]:
        """What the adapters gave when scaled after training, by the factors that all seeds of a label share."""
        runs = [{row.alpha: self._measured(row) for row in run.scaled} for run in self.results.runs]
        return [means([runs[run] for run in seeds.runs]) for seeds in self.seeds]

    @cached_property
    def softened(self) -> list[list[Stop]]:
        """What they gave when softened after training, by growing strengths that all seeds of a label share."""
        runs = [
            {
                row.strength or 0.0: self._measured(row)
                for row in sorted(run.softened, key=lambda row: row.strength or 0.0)
            }
            for run in self.results.runs
        ]
        return [means([runs[run] for run in seeds.runs]) for seeds in self.seeds]

    @cached_property
    def after(self) -> list[dict[str, list[Version]]]:
        """What they gave when changed by each rival, from the adapter on, by knobs that all seeds of a label share."""
        return [self._rivals([self.results.runs[run] for run in seeds.runs]) for seeds in self.seeds]

    @cached_property
    def rival_looks(self) -> dict[str, Look]:
        """How each rival looks in every plot."""
        names = list(dict.fromkeys(row.rival for run in self.results.runs for row in run.after if row.rival))
        return rival_looks(names, self.families)

    @cached_property
    def fronts(self) -> dict[str, list[list[int]]]:
        """The front of each method over its knob in each view of the trade-off, as places among the labels."""
        names = [grid_of(self.results.runs[seeds.first], self.results) for seeds in self.seeds]
        return {
            name: fronts(names, [self.end(place, view) for place in range(len(self.seeds))], view.up)
            for name, view in VIEWS.items()
        }

    @cached_property
    def pareto_fronts(self) -> dict[str, list[int]]:
        """The front of all settings in each view of the trade-off, as places among the labels; none of one setting."""
        every = [""] * len(self.seeds)
        found = {
            name: fronts(every, [self.end(place, view) for place in range(len(self.seeds))], view.up)
            for name, view in VIEWS.items()
        }
        return {name: of[0] if of else [] for name, of in found.items()}

    @cached_property
    def is_crowded(self) -> bool:
        """Whether there are so many settings that a trade-off shows their ends and fronts, and no ways there."""
        return len(self.seeds) > _MOST_WAYS

    def fences(self, view: View) -> tuple[Fences | None, Fences | None]:
        """Returns where each axis of a view ends for the ends of all settings, in the units of its measures."""
        ends = [at for place in range(len(self.seeds)) if (at := self.end(place, view)) is not None]
        base = (self.base[view.x], self.base[view.y]) if view.up else (0.0, 0.0)
        keeps = not self.is_crowded
        across, up = (
            fences([at[axis].mean for at in ends], of_base, keeps) if (of_base := base[axis]) is not None else None
            for axis in (0, 1)
        )
        return across, up

    @cached_property
    def with_accuracies(self) -> bool:
        """Whether some run measured both accuracies at its end."""
        finals = [run.final for run in self.results.runs if run.final is not None]
        return any(final.source_accuracy is not None and final.target_accuracy is not None for final in finals)

    def end(self, place: int, view: View) -> tuple[Spread, Spread] | None:
        """Returns where the seeds of a label ended in a view, None where that was not measured."""
        stops = self.paths[place]
        return stops[-1].at(view) if stops else None

    def _rivals(self, runs: Sequence[Run]) -> dict[str, list[Version]]:
        rows = [
            {(row.rival, row.knob): row for row in run.after if row.rival is not None and row.knob is not None}
            for run in runs
        ]
        stops = means([{key: self._measured(row) for key, row in of.items()} for of in rows])
        shared = [key for key in rows[0] if all(key in of for of in rows)]
        found: dict[str, list[Version]] = {}
        for (name, knob), stop in zip(shared, stops, strict=True):
            found.setdefault(str(name), []).append(Version(float(knob or 0.0), stop))
        for name, versions in found.items():
            adapter = self.results.rival(name).adapter
            versions.sort(key=lambda one: abs(one.knob - adapter))
        return found

    def _measured(self, row: Evaluation) -> Measured:
        return measures(self.results.base, row)
