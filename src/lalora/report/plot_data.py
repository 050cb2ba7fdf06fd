"""What the plots of the page draw from, as plain JSON values."""

from typing import Any

from lalora.methods.catalogue import knob_of
from lalora.report.changes import change_tables
from lalora.report.look import Look, looks
from lalora.report.paths import VIEWS, Stop, fronts, measures, path, scaled, softened
from lalora.report.schema import Results, Run
from lalora.report.seeds import Seeds, band, by_label
from lalora.report.series import Point, forecasts, panels, points, smooth
from lalora.report.summary import label


def plot_data(results: Results) -> dict[str, Any]:
    """Returns what the plots of the page draw from; runs and labels keep their order."""
    shown = panels(results)
    return {
        "base": measures(results.base, results.base),
        "runs": [_run(results, run, look) for run, look in zip(results.runs, looks(results), strict=True)],
        "labels": [_label(results, seeds) for seeds in by_label(results)],
        "views": {
            name: {"x": view.x, "y": view.y, "up": view.up, "fronts": fronts(results, view)}
            for name, view in VIEWS.items()
        },
        "published": [one.model_dump() for one in results.published],
        "panels": [
            {
                "key": panel.key,
                "title": panel.title,
                "axis": panel.axis,
                "noisy": panel.noisy,
                "marked": not panel.trained,
                "share": panel.share,
            }
            for panel in shown
        ],
        "changes": [
            {"groups": table.groups, "changes": table.changes, "runs": table.runs} for table in change_tables(results)
        ],
    }


def telling(results: Results, run: Run) -> dict[str, str]:
    """Returns the settings that tell a run from others of its method: what differs among them, and its knob."""
    alike = [other.settings for other in results.runs if other.method == run.method]
    knob = knob_of(run.method)
    return {
        key: _text(value)
        for key, value in run.settings.items()
        if key == knob or (key != "seed" and any(other.get(key) != value for other in alike))
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _run(results: Results, run: Run, look: Look) -> dict[str, Any]:
    return {
        "name": run.name,
        "label": label(results, run),
        "shape": look.shape,
        "dash": " ".join(map(str, look.dash)),
        "size": look.size,
        "points": [{"step": row.step, **measures(results.base, row)} for row in run.points],
        "forecasts": forecasts(run),
    }


def _label(results: Results, seeds: Seeds) -> dict[str, Any]:
    runs = [results.runs[run] for run in seeds.runs]
    curves = {panel: [points(run, panel) for run in runs] for panel in panels(results)}
    found = [forecasts(run) for run in runs]
    return {
        "name": seeds.label,
        "label": seeds.label if len(runs) > 1 else label(results, runs[0]),
        "runs": seeds.runs,
        "settings": telling(results, runs[0]),
        "path": [_stop(stop) for stop in path(results, seeds)],
        "scaled": [_stop(stop) for stop in scaled(results, seeds)],
        "softened": [_stop(stop) for stop in softened(results, seeds)],
        "curves": {panel.key: _band(curve) for panel, curve in curves.items()},
        "smooth": {panel.key: _band([smooth(one) for one in curve]) for panel, curve in curves.items() if panel.noisy},
        "foretold": _band([[(step, forecast) for step, forecast, _ in one] for one in found]),
        "measured": _band([[(step, measured) for step, _, measured in one] for one in found]),
    }


def _band(curves: list[list[Point]]) -> list[list[float]]:
    return [[step, at.mean, at.low, at.high] for step, at in band(curves)]


def _stop(stop: Stop) -> dict[str, Any]:
    told = {key: at and [at.mean, at.low, at.high] for key, at in stop.values.items()}
    return {"step": stop.step, **told}
