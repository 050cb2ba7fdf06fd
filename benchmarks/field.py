"""Drift at equal target loss by every change after training, and what each costs: from `lalora run after-training`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fronts import GIVEN_UP, MEASURES, Row, drift, interval, mean, scaled_front, soft_front
from output import publish, table

from lalora.posthoc import RIVALS
from lalora.results.intervals import Difference, paired

SCALED, SOFTENED = "scaled", "soften"
_KNOWN_ROWS = 32
Found = Mapping[int, float | None]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("results", type=Path, nargs="+", help="results.json of a study, or several with more seeds")
    arguments.add_argument("--name", default="field")
    chosen = arguments.parse_args()
    studies = [json.loads(path.read_text(encoding="utf-8")) for path in chosen.results]
    methods: dict[str, list[Row]] = {}
    for run in (run for study in studies for run in study["runs"]):
        methods.setdefault(run["label"], []).append(run)
    parts = [versions(methods)]
    for measure in MEASURES:
        parts += [at_equal_loss(methods, measure), against_softening(methods, measure), winners(methods, measure)]
    publish(chosen.name, "\n\n".join([*parts, costs(methods, studies[0])]), {})


def changes(runs: Sequence[Row]) -> list[str]:
    """List what was done after training, by name."""
    first = runs[0]
    there = [SCALED] if first["scaled"] else []
    there += [SOFTENED] if first["softened"] else []
    return [*there, *dict.fromkeys(row["rival"] for row in first.get("after", []))]


def title(name: str) -> str:
    return {SCALED: "scaled down", SOFTENED: "softened"}.get(name) or RIVALS[name].label


def front(run: Row, name: str) -> list[Row]:
    """Look up the versions of an adapter, from the adapter on."""
    if name == SCALED:
        return scaled_front(run)
    if name == SOFTENED:
        return soft_front(run)
    return [run["final"], *(row for row in run["after"] if row["rival"] == name)]


def versions(methods: Mapping[str, Sequence[Row]]) -> str:
    """Tabulate every version that all seeds have, averaged over them."""
    rows = []
    for label, runs in methods.items():
        rows.append([label, "–", *_means([run["final"] for run in runs])])
        for name in changes(runs):
            shared = set.intersection(*({key for _, key in _knobs(run, name)} for run in runs))
            for told, key in _knobs(runs[0], name):
                if key in shared:
                    rows.append([label, told, *_means([_version(run, name, key) for run in runs])])
    head = ["trained with", "afterwards", "target loss", "source KL", "held-out KL"]
    return f"Means over seeds, nats per token.\n\n{table(head, rows)}"


def at_equal_loss(methods: Mapping[str, Sequence[Row]], measure: str) -> str:
    """Tabulate the drift of each change at each target loss, averaged over seeds; – where a seed does not get there."""
    rows = []
    for label, runs in methods.items():
        for name in changes(runs):
            cells = [_mean(drifts(runs, name, measure, more)) for more in GIVEN_UP]
            rows.append([label, title(name), *cells])
    head = ["trained with", "afterwards", *(f"{more:g} given up" for more in GIVEN_UP)]
    return f"Drift on {measure} text at equal target loss, interpolated on each seed's front.\n\n{table(head, rows)}"


def against_softening(methods: Mapping[str, Sequence[Row]], measure: str) -> str:
    """Tabulate softened minus each other change, paired by seed, with Student's interval."""
    rows = []
    for label, runs in methods.items():
        others = [name for name in changes(runs) if name != SOFTENED]
        if SOFTENED in changes(runs):
            for name in others:
                found = [difference(runs, name, measure, more) for more in GIVEN_UP]
                rows.append([label, title(name), *("–" if one is None else interval(one) for one in found)])
    head = ["trained with", "softened minus", *(f"{more:g} given up, 95 %" for more in GIVEN_UP)]
    return f"Drift on {measure} text: softened minus the other; below zero softening keeps more.\n\n{table(head, rows)}"


def winners(methods: Mapping[str, Sequence[Row]], measure: str) -> str:
    """Tell which change drifts least at each target loss, and whether the interval to softening leaves out zero."""
    rows = []
    for label, runs in methods.items():
        for more in GIVEN_UP:
            found = {name: _known(drifts(runs, name, measure, more)) for name in changes(runs)}
            whole = {name: mean(list(values)) for name, values in found.items() if values}
            if not whole:
                continue
            best = min(whole, key=whole.__getitem__)
            apart = None if best == SOFTENED else difference(runs, best, measure, more)
            sure = "–" if apart is None else "yes" if apart.excludes_zero else "no"
            runner = sorted(whole, key=whole.__getitem__)[1:2]
            second = f"{title(runner[0])} ({whole[runner[0]]:.4f})" if runner else "–"
            rows.append([label, f"{more:g}", f"{title(best)} ({whole[best]:.4f})", second, sure])
    head = ["trained with", "target loss given up", "drifts least", "second", "differs from softened for sure"]
    return f"Who keeps most on {measure} text.\n\n{table(head, rows)}"


def costs(methods: Mapping[str, Sequence[Row]], study: Row) -> str:
    """Tabulate what each change takes: time and memory as measured, and what it cannot do without."""
    base = study["recipe"].get("base", {})
    rows_of = base.get("soften_rows", _KNOWN_ROWS)
    runs = [run for of in methods.values() for run in of]
    rows = []
    for name in changes(runs):
        kind = RIVALS.get(name)
        reads = name == SOFTENED or (kind is not None and bool(kind.fits))
        passes = "forward and backward" if name == SOFTENED else "–" if kind is None else kind.passes
        text = f"{rows_of} of the target and of each of {len(base.get('sources', {}))} sources" if reads else "none"
        needs = {SCALED: "nothing", SOFTENED: "text of both; a gradient of both"}.get(name) or RIVALS[name].needs
        rank = "r" if kind is None or not kind.full_rank else "r or 2r" if kind.rewinds else "any"
        rows.append([title(name), needs, text, passes, *_spent(runs, name), rank])
    head = ["change", "needs", "rows", "passes over them", "s to fit", "s once", "s a version", "MiB at most", "rank"]
    machine = f"Medians over runs, on {study.get('machine', 'a machine')}; fits that several share are told with each."
    return f"{machine}\n\n{table(head, rows)}"


def drifts(runs: Sequence[Row], name: str, measure: str, more: float) -> Found:
    """Find the drift at a target loss so much above that of the adapter, by seed."""
    return {run["seed"]: drift(front(run, name), run["final"]["target_loss"] + more, MEASURES[measure]) for run in runs}


def difference(runs: Sequence[Row], name: str, measure: str, more: float) -> Difference | None:
    """Compare softening with another change on the seeds where both get to a target loss."""
    ours, theirs = (drifts(runs, one, measure, more) for one in (SOFTENED, name))
    shared = {seed for seed in ours if None not in (ours[seed], theirs[seed])}
    if not shared:
        return None
    return paired(*({seed: float(one[seed] or 0.0) for seed in shared} for one in (ours, theirs)))


def _knobs(run: Row, name: str) -> list[tuple[str, float]]:
    if name == SCALED:
        return [(f"× {row['alpha']:g}", row["alpha"]) for row in run["scaled"]]
    if name == SOFTENED:
        return [(f"softened, λ = {row['strength']:g}", row["strength"]) for row in run["softened"]]
    kind = RIVALS[name]
    return [(f"{kind.label}, {kind.knob} = {row['knob']:g}", row["knob"]) for row in front(run, name)[1:]]


def _version(run: Row, name: str, knob: float) -> Row:
    key = {SCALED: "alpha", SOFTENED: "strength"}.get(name, "knob")
    rows = {SCALED: run["scaled"], SOFTENED: run["softened"]}.get(name) or front(run, name)[1:]
    return next(row for row in rows if row[key] == knob)


def _spent(runs: Sequence[Row], name: str) -> list[str]:
    told: dict[str, list[float]] = {"fit": [], "once": [], "version": [], "memory": []}
    for run in runs:
        parts = [cost for cost in run.get("after_costs", []) if cost["rival"] == name]
        last = {cost["part"]: cost for cost in parts}  # after a kill a part was done again
        fits = [cost.get("seconds") for part, cost in last.items() if part.startswith(("target ", "source "))]
        told["fit"] += [sum(fits)] if fits and None not in fits else []
        told["once"] += [last["prepare"]["seconds"]] if "prepare" in last else []
        told["version"] += [cost["seconds"] for part, cost in last.items() if part.startswith("at ")]
        told["memory"] += [max(held)] if (held := [c["memory"] for c in last.values() if c.get("memory")]) else []
    seconds = [f"{_median(told[key]):.2f}" if told[key] else "–" for key in ("fit", "once", "version")]
    return [*seconds, f"{_median(told['memory']) / 2**20:.0f}" if told["memory"] else "–"]


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _means(rows: Sequence[Row]) -> list[str]:
    return [f"{mean([row[key] for row in rows]):.4f}" for key in ("target_loss", "source_kl", "heldout_kl")]


def _mean(found: Found) -> str:
    known = _known(found)
    return f"{mean(known):.4f}" if known else "–"


def _known(found: Found) -> list[float]:
    """Return the values where every seed has one, else none."""
    values = [value for value in found.values() if value is not None]
    return values if len(values) == len(found) else []


if __name__ == "__main__":
    main()
