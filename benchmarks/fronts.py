"""Drift at equal target loss, scaled down against softened, from the results of `lalora run softened`."""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from output import publish, table

from lalora.results.intervals import Difference, paired

GIVEN_UP = (0.005, 0.01, 0.02, 0.05)
MEASURES = {"source": "source_kl", "held-out": "heldout_kl"}
Row = dict[str, Any]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("results", type=Path, nargs="+", help="results.json of a study, or several with more seeds")
    arguments.add_argument("--name", default="fronts")
    chosen = arguments.parse_args()
    runs = [run for results in chosen.results for run in json.loads(results.read_text())["runs"]]
    methods: dict[str, list[Row]] = {}
    for run in runs:
        methods.setdefault(run["label"], []).append(run)
    text = "\n\n".join([measured(methods), *(compared(methods, name) for name in MEASURES), pairs(methods)])
    publish(chosen.name, text, {})


def measured(methods: Mapping[str, Sequence[Row]]) -> str:
    """Tabulate every version, averaged over seeds."""
    rows = []
    for label, runs in methods.items():
        for title, of in versions(runs[0]):
            found = [of(run) for run in runs]
            cells = [mean([one[key] for one in found]) for key in ("target_loss", "source_kl", "heldout_kl")]
            arc = mean([one["kl"]["arc_challenge"] for one in found])
            rows.append([label, title, *(f"{cell:.4f}" for cell in (*cells, arc))])
    seeds = " to ".join(str(count) for count in sorted({len(runs) for runs in methods.values()}))
    head = ["trained with", "afterwards", "target loss", "mean source KL", "held-out KL", "of which ARC"]
    return f"Means over {seeds} seeds, nats per token.\n\n{table(head, rows)}"


def versions(run: Row) -> list[tuple[str, Callable[[Row], Row]]]:
    """Return for each version a function that finds it in a run."""
    found: list[tuple[str, Callable[[Row], Row]]] = [("–", lambda run: run["final"])]
    for place, row in enumerate(run["scaled"]):
        found.append((f"× {row['alpha']:g}", lambda run, place=place: run["scaled"][place]))
    for place, row in enumerate(run["softened"]):
        found.append((f"softened, λ = {row['strength']:g}", lambda run, place=place: run["softened"][place]))
    return found


def compared(methods: Mapping[str, Sequence[Row]], measure: str) -> str:
    """Softened minus scaled at equal target loss, by method."""
    rows = []
    for label, runs in methods.items():
        for more in GIVEN_UP:
            at = {run["seed"]: run["final"]["target_loss"] + more for run in runs}
            scaled = {run["seed"]: drift(scaled_front(run), at[run["seed"]], MEASURES[measure]) for run in runs}
            soft = {run["seed"]: drift(soft_front(run), at[run["seed"]], MEASURES[measure]) for run in runs}
            rows.append([label, f"{more:g}", *told(scaled, soft)])
    head = ["trained with", "target loss given up", "scaled", "softened", "difference, 95 %"]
    return f"Drift on {measure} text at equal target loss, interpolated on the fronts.\n\n{table(head, rows)}"


def pairs(methods: Mapping[str, Sequence[Row]]) -> str:
    """Softened fronts of all methods at the target losses of plain LoRA's, against plain LoRA softened."""
    (plain_label, plain), *others = methods.items()
    rows = []
    for label, runs in others:
        for more in GIVEN_UP:
            at = {run["seed"]: run["final"]["target_loss"] + more for run in plain}
            both = [run for run in runs if run["seed"] in at]
            ours = {run["seed"]: drift(soft_front(run), at[run["seed"]], "source_kl") for run in both}
            theirs = {run["seed"]: drift(soft_front(run), at[run["seed"]], "source_kl") for run in plain}
            rows.append([label, f"{more:g}", *told(theirs, ours)])
    head = [
        "trained with",
        f"target loss above {plain_label}'s",
        f"{plain_label} softened",
        "this method softened",
        "difference",
    ]
    return f"Which combination: source drift of softened fronts at equal target loss.\n\n{table(head, rows)}"


def scaled_front(run: Row) -> list[Row]:
    return [run["final"], *run["scaled"]]


def soft_front(run: Row) -> list[Row]:
    # λ = 0 is the adapter where the front begins there.
    start = [run["final"]] if all(row["alpha"] == 1 for row in run["softened"]) else []
    return [*start, *run["softened"]]


def drift(front: Sequence[Row], loss: float, key: str) -> float | None:
    """Lowest KL at a target loss of at most `loss`; log KL is linear in the loss between neighbours on the front."""
    found = least([(row["target_loss"], log_kl(row, key)) for row in sorted(front, key=lambda row: row[key])], loss)
    return None if found is None else math.exp(found)


def loss_at(front: Sequence[Row], kl: float, key: str) -> float | None:
    """Lowest target loss at a KL of at most this, interpolated likewise."""
    points = [(log_kl(row, key), row["target_loss"]) for row in sorted(front, key=lambda row: row[key])]
    return least(points, math.log(kl))


def log_kl(row: Row, key: str) -> float:
    return math.log(max(row[key], 1e-9))


def least(points: Sequence[tuple[float, float]], at: float) -> float | None:
    """Lowest y where x is at most `at`; y is linear in x between neighbours."""
    found = [y for x, y in points if x <= at]
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        if min(x, next_x) <= at <= max(x, next_x) and x != next_x:
            found.append(y + (at - x) / (next_x - x) * (next_y - y))
    return min(found, default=None)


def told(theirs: Mapping[int, float | None], ours: Mapping[int, float | None]) -> list[str]:
    shared = [seed for seed in ours if ours[seed] is not None and theirs.get(seed) is not None]
    if not shared:
        return ["–", "–", "–"]
    left, right = ({seed: float(side[seed] or 0.0) for seed in shared} for side in (theirs, ours))
    found = paired(right, left)
    return [f"{mean(list(left.values())):.4f}", f"{mean(list(right.values())):.4f}", interval(found)]


def interval(found: Difference) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f} (1 seed)"
    return f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f}; {found.seeds} seeds)"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
