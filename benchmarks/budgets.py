"""How near control ends to a budget of drift, and whether it or softening after training keeps more of what is learned.

From `lalora run budgets` or a part of it, and `lalora run softened` on the same rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fronts import Row, interval, loss_at, mean, soft_front
from output import publish, table

from lalora.results.intervals import paired

CONTROL, SOFTENED = "control alone", "control, then softened"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("results", type=Path, nargs="+", help="results.json of runs with a budget")
    arguments.add_argument("--fronts", type=Path, required=True, help="results.json of `lalora run softened`")
    arguments.add_argument("--name", default="budgets")
    chosen = arguments.parse_args()
    found = [run for path in chosen.results for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
    runs = [run for run in found if run["settings"].get("budget_by") in ("control", "both")]
    if len({run["method"] for run in runs}) != 1:
        raise SystemExit("give runs with a budget of one set of methods, kept by control or both")
    fronts: dict[str, dict[int, Row]] = {}
    for run in json.loads(chosen.fronts.read_text(encoding="utf-8"))["runs"]:
        fronts.setdefault(run["label"], {})[run["seed"]] = run
    publish(chosen.name, "\n\n".join([ends(runs), against(runs, fronts)]), {})


def ends(runs: Sequence[Row]) -> str:
    """Where each run ended on the rows of its budget, and with which factor."""
    rows = []
    for run in sorted(runs, key=lambda run: (run["settings"]["budget"], run["seed"])):
        controlled, budget = run["controlled"], float(run["settings"]["budget"])
        softened = run["budgeted"] if run["settings"]["budget_by"] == "both" else None
        last = softened["trained_drift"] if softened else controlled[-1]["drift"]
        # The factor of the last steps was chosen at the measurement before the end.
        factor = [row["strength_factor"] for row in controlled if row["step"] < run["settings"]["steps"]][-1]
        cells = [f"{budget:g}", str(run["seed"]), f"{factor:.2f}", f"{last:.4f}", f"{last / budget - 1:+.0%}"]
        cells += [f"{softened['drift']:.4f}", f"{softened['softening_strength']:.3g}"] if softened else ["–", "–"]
        rows.append(cells)
    head = ["budget", "seed", "factor at the end", "drift after control", "off by", "after softening", "λ"]
    return f"On the rows of the budget, nats per token.\n\n{table(head, rows)}"


def against(runs: Sequence[Row], fronts: Mapping[str, Mapping[int, Row]]) -> str:
    """Target loss beyond that of softened fronts at the same drift, both on scored rows."""
    found: dict[tuple[float, str], dict[int, Row]] = {}
    for run in runs:
        budget = float(run["settings"]["budget"])
        by_both = run["settings"]["budget_by"] == "both"
        found.setdefault((budget, CONTROL), {})[run["seed"]] = run["trained"] if by_both else run["final"]
        if by_both:
            found.setdefault((budget, SOFTENED), {})[run["seed"]] = run["final"]
    rows = []
    for (budget, way), by_seed in sorted(found.items()):
        losses, drifts = ([row[key] for row in by_seed.values()] for key in ("target_loss", "source_kl"))
        cells = [f"{budget:g}", way, str(len(by_seed)), f"{mean(losses):.4f}", f"{mean(drifts):.4f}"]
        for of_seed in fronts.values():
            at = {
                seed: loss_at(soft_front(of_seed[seed]), row["source_kl"], "source_kl") for seed, row in by_seed.items()
            }
            known = {seed: loss for seed, loss in at.items() if loss is not None}
            ours = {seed: float(by_seed[seed]["target_loss"]) for seed in known}
            cells.append(interval(paired(ours, known)) if known else "–")
        rows.append(cells)
    head = ["budget", "kept by", "seeds", "target loss", "source KL", *(f"{label}, softened" for label in fronts)]
    text = "On scored rows; the last columns are the target loss beyond that of a softened front at the same source KL"
    return f"{text} (below zero: less loss).\n\n{table(head, rows)}"


if __name__ == "__main__":
    main()
