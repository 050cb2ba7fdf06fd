"""Drift of two estimators of the diagonal and of L2 on B at equal target loss, from the results of a study."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fronts import Row, drift, interval, mean
from output import publish, table

from lalora.results.intervals import paired

DEFAULT, PAPER, L2 = "default diagonal", "paper's diagonal", "L2 on B"
GIVEN_UP = (0.005, 0.01)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("results", type=Path, help="results.json of the study")
    arguments.add_argument("--name", default="estimators")
    chosen = arguments.parse_args()
    fronts = by_method(json.loads(chosen.results.read_text())["runs"])
    publish(chosen.name, "\n\n".join([measured(fronts), *(compared(fronts, more) for more in GIVEN_UP)]), {})


def by_method(runs: Sequence[Row]) -> dict[str, dict[int, list[Row]]]:
    """Return the ends of the runs of each method by seed; plain LoRA's is in every front."""
    names = {"lora": (DEFAULT, PAPER, L2), "l2-b": (L2,)}
    fronts: dict[str, dict[int, list[Row]]] = {DEFAULT: {}, PAPER: {}, L2: {}}
    for run in runs:
        own = (PAPER,) if run["settings"].get("fisher") == "batch" else (DEFAULT,)
        for name in names.get(run["method"], own):
            fronts[name].setdefault(run["seed"], []).append(run["final"])
    return fronts


def measured(fronts: Mapping[str, Mapping[int, Sequence[Row]]]) -> str:
    """Tabulate the strongest setting of each as it was measured, a row a seed."""
    rows = []
    for name, by_seed in fronts.items():
        for seed, found in sorted(by_seed.items()):
            end = max(found, key=lambda row: float(row["target_loss"]))
            rows.append([name, str(seed), f"{end['target_loss']:.4f}", *(f"{kl:.4f}" for kl in end["kl"].values())])
    texts = list(next(iter(fronts[L2].values()))[0]["kl"])
    return f"As measured, nats per token.\n\n{table(['method', 'seed', 'target loss', *texts], rows)}"


def compared(fronts: Mapping[str, Mapping[int, Sequence[Row]]], more: float) -> str:
    """Tabulate the drift of each at plain LoRA's target loss plus `more`, as shares of what L2 on B leaves."""
    texts = list(fronts[L2][min(fronts[L2])][0]["kl"])
    rows = []
    for text in texts:
        found = {name: at_equal_loss(by_seed, text, more) for name, by_seed in fronts.items()}
        shared = sorted(set.intersection(*(set(one) for one in found.values())))
        if not shared:
            continue
        shares = {name: {seed: found[name][seed] / found[L2][seed] for seed in shared} for name in (DEFAULT, PAPER)}
        rows.append(
            [
                text,
                *(f"{mean([found[name][seed] for seed in shared]):.4f}" for name in (L2, DEFAULT, PAPER)),
                *(f"{100 * mean(list(shares[name].values())):.0f} %" for name in (DEFAULT, PAPER)),
                interval(paired(shares[PAPER], shares[DEFAULT])),
            ]
        )
    head = ["text", L2, DEFAULT, PAPER, "default / L2", "paper's / L2", "difference of these shares, 95 %"]
    return f"At {more:g} nats of target loss above plain LoRA's.\n\n{table(head, rows)}"


def at_equal_loss(by_seed: Mapping[int, Sequence[Row]], text: str, more: float) -> dict[int, float]:
    """Return the drift on a text by seed, where the front reaches that target loss; plain LoRA's row comes first."""
    found = {}
    for seed, rows in by_seed.items():
        front = [{"target_loss": row["target_loss"], "kl": row["kl"][text]} for row in rows]
        reached = drift(front, rows[0]["target_loss"] + more, "kl")
        if reached is not None and max(row["target_loss"] for row in front) >= rows[0]["target_loss"] + more:
            found[seed] = reached
    return found


if __name__ == "__main__":
    main()
