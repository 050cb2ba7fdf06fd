"""What the default curvature at its default strength keeps, and what softening adds, on several targets.

From `lalora run softened` with a target each: plain LoRA and `weight-kfac` at strength 30, several seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from output import publish, table

from lalora.curvature import FITTED
from lalora.laplace import FitSettings
from lalora.results.intervals import of_mean

PLAIN = "LoRA"
DEFAULT = f"LaLoRA {FitSettings().curvature} λ={FITTED[FitSettings().curvature].strength:g}"
WAYS = ((PLAIN, 0.3), (DEFAULT, None), (DEFAULT, 0.1), (DEFAULT, 0.3), ("KL λ=1 every=4", 0.1))
Run = Mapping[str, Any]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("results", type=Path, nargs="+", help="results.json of a target each")
    arguments.add_argument("--name", default="defaults")
    chosen = arguments.parse_args()
    rows = []
    for target, runs in by_target(chosen.results).items():
        for label, strength in WAYS:
            kept = [of_seed(runs, seed, label, strength) for seed in sorted({run["seed"] for run in runs})]
            removed, given_up = ([share for share in column if share is not None] for column in zip(*kept, strict=True))
            softened = "–" if strength is None else f"λ = {strength:g}"
            if not removed:
                continue
            rows.append([target, label, softened, str(len(removed)), percent(removed), percent(given_up)])
    head = ["target", "trained with", "softened", "seeds", "drift removed", "learning given up"]
    publish(chosen.name, table(head, rows), {})


def by_target(paths: list[Path]) -> dict[str, list[Run]]:
    """Put the runs of one target together, whichever file they are in."""
    found: dict[str, list[Run]] = {}
    for path in paths:
        study = json.loads(path.read_text(encoding="utf-8"))
        # A target that was given as a file under a known name is called by its file.
        ((name, place),) = study["recipe"]["base"]["target"].items()
        found.setdefault(name if place == "embedded" else Path(place).stem, []).extend(study["runs"])
    return found


def of_seed(runs: list[Run], seed: int, label: str, strength: float | None) -> tuple[float | None, float | None]:
    """Tell the shares of plain LoRA's drift that is gone and of its learning that is given up."""
    plain, ours = ({run["label"]: run for run in runs if run["seed"] == seed}.get(name) for name in (PLAIN, label))
    if plain is None or ours is None:
        return None, None
    end = ours["final"]
    if strength is not None:
        end = next(row for row in ours["softened"] if row["strength"] == strength)
    before = plain["curve"][0]["target_loss"]
    learned = before - plain["final"]["target_loss"]
    return 1 - end["source_kl"] / plain["final"]["source_kl"], 1 - (before - end["target_loss"]) / learned


def percent(shares: list[float]) -> str:
    """Write the mean, and Student's 95 % interval of it."""
    found = of_mean(shares)
    low_to_high = "" if found.low is None else f" ({found.low:.1%} to {found.high:.1%})"
    return f"{found.mean:.1%}{low_to_high}".replace("%", " %")


if __name__ == "__main__":
    main()
