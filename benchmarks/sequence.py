"""What is left of each task and of the base after several in a row, from results of `examples/three_tasks.py`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib import rc_context
from output import FOLDER, publish, table

from lalora.report.look import BLUE, GOLD, GREEN, ORANGE, PINK, SLATE, VIOLET
from lalora.report.pictures import STYLE, framed, legend, saved

COLOURS = [hue.light for hue in (ORANGE, BLUE, VIOLET, GREEN, GOLD, PINK, SLATE)]
# Of a task's own learning, below which a share of it says nothing.
LITTLE = 0.01
OF_A_WAY = {"way", "seed", "hold", "strength", "budget", "give_up"}
Result = dict[str, Any]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("results", type=Path, nargs="+", help="results.json of runs: ways and seeds in any order")
    arguments.add_argument("--name", default="sequence")
    chosen = arguments.parse_args()
    ways: dict[str, list[Result]] = {}
    for path in chosen.results:
        result = json.loads(path.read_text())
        ways.setdefault(label(result), []).append(result)
    require_alike(ways)
    publish(chosen.name, "\n\n".join([after_all(ways), after_each(ways)]), {"runs": ways})
    (FOLDER / f"{chosen.name}.png").write_bytes(drawn(ways))


def label(result: Result) -> str:
    """The way and what of it is not as usual."""
    settings = result["settings"]
    asked = {"hold": settings["hold"], "budget": settings["budget"], "give up": settings["give_up"]}
    if "soften" in settings["way"] and settings["budget"] is None:
        asked["λ"] = settings["strength"] if settings["strength"] != 1 else None
    told = [f"{name} = {value:g}" for name, value in asked.items() if value is not None]
    return ", ".join([settings["way"], *told])


def require_alike(ways: Mapping[str, Sequence[Result]]) -> None:
    """Refuse runs of other tasks, texts or settings, and a seed that is there twice."""
    runs = [run["settings"] for several in ways.values() for run in several]
    for name in sorted(runs[0].keys() - OF_A_WAY):
        if any(settings[name] != runs[0][name] for settings in runs):
            raise SystemExit(f"the runs differ in '{name}': give those of one sequence")
    for way, several in ways.items():
        seeds = [run["settings"]["seed"] for run in several]
        if len(set(seeds)) < len(seeds):
            raise SystemExit(f"'{way}' has a seed twice: give each run once")


def after_all(ways: Mapping[str, Sequence[Result]]) -> str:
    """What is left after the last task."""
    *earlier, last = next(iter(ways.values()))[0]["tasks"]
    head = ["way", "seeds"]
    head += [part for name in earlier for part in (f"{name}: loss", "rise since learned", "learning kept")]
    head += [f"{last}: loss", "learned", "source KL", "held-out KL"]
    rows = []
    for way, runs in ways.items():
        cells = [way, str(len(runs))]
        for name in earlier:
            cells += [told([loss(run, name) for run in runs]), told([rise(run, name) for run in runs])]
            cells.append(told([kept(run, name) for run in runs], percent=True))
        cells += [told([loss(run, last) for run in runs]), told([learned(run, last) for run in runs])]
        cells += [told([drift(run, role, -1) for run in runs]) for role in ("sources", "held_out")]
        rows.append(cells)
    text = "After the last task, nats per token on rows that no fit saw, mean ± standard deviation over seeds:"
    return f"{text}\n\n{table(head, rows)}"


def after_each(ways: Mapping[str, Sequence[Result]]) -> str:
    """How the loss of each task and the drift went."""
    first = next(iter(ways.values()))[0]
    head = ["way", "after", *(f"loss of {name}" for name in first["tasks"]), "source KL", "held-out KL", "λ"]
    rows = []
    for way, runs in ways.items():
        for number, stage in enumerate(first["stages"]):
            cells = [told([run["stages"][number]["loss"][name] for run in runs]) for name in first["tasks"]]
            cells += [told([drift(run, role, number) for run in runs]) for role in ("sources", "held_out")]
            strengths = [run["stages"][number].get("strength", math.nan) for run in runs]
            rows.append([way, stage["after"] or "–", *cells, told(strengths)])
    return f"After each task:\n\n{table(head, rows)}"


def drawn(ways: Mapping[str, Sequence[Result]]) -> bytes:
    """Draw the loss of each task and the drift over the sequence, means over seeds."""
    first = next(iter(ways.values()))[0]
    tasks, places = first["tasks"], range(len(first["stages"]))
    with rc_context(STYLE):
        figure = framed(3.2 * (len(tasks) + 1), 3.4)
        panels = list(figure.subplots(1, len(tasks) + 1))
        for (way, runs), colour in zip(ways.items(), COLOURS * len(ways), strict=False):
            lines = [[fmean(run["stages"][n]["loss"][name] for run in runs) for n in places] for name in tasks]
            lines.append([fmean(drift(run, "sources", n) for run in runs) for n in places])
            for axes, line in zip(panels, lines, strict=True):
                axes.plot(places, line, color=colour, marker="o", markersize=4, label=way)
        titles = [*(f"Loss of {name}" for name in tasks), "KL to the base, sources"]
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title)
            axes.set_xticks(places, ["base", *tasks], rotation=30)
            axes.set_xlabel("after")
        legend(figure, panels, 36 * (len(tasks) + 1))
        return saved(figure).png


def stage_of(run: Result, task: str) -> int:
    return int(run["tasks"].index(task)) + 1


def loss(run: Result, task: str, number: int = -1) -> float:
    return float(run["stages"][number]["loss"][task])


def learned(run: Result, task: str) -> float:
    """How far the loss of a task fell by learning it."""
    number = stage_of(run, task)
    return loss(run, task, number - 1) - loss(run, task, number)


def rise(run: Result, task: str) -> float:
    """How far it rose since."""
    return loss(run, task) - loss(run, task, stage_of(run, task))


def kept(run: Result, task: str) -> float:
    """What share of the fall is left at the end."""
    fall = learned(run, task)
    return math.nan if fall < LITTLE else 1 - rise(run, task) / fall


def drift(run: Result, role: str, number: int) -> float:
    """KL(base ‖ model), averaged over texts of a role."""
    found = [run["stages"][number]["kl"][name] for name in run[role]]
    return fmean(found) if found else math.nan


def told(values: Sequence[float], percent: bool = False) -> str:
    if any(map(math.isnan, values)):
        return "–"
    shown = [100 * value for value in values] if percent else list(values)
    digits, unit = (0, " %") if percent else (3, "")
    spread = f" ± {stdev(shown):.{digits}f}" if len(shown) > 1 else ""
    return f"{fmean(shown):.{digits}f}{spread}{unit}"


if __name__ == "__main__":
    main()
