"""The HTML page: one file with everything in it, which asks the network for nothing."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lalora.report import numbers, selection
from lalora.report.calibration import calibration, curvatures, datasets
from lalora.report.calibration_picture import calibration_picture
from lalora.report.changes import change_tables
from lalora.report.costs import HEADERS, by_setting
from lalora.report.datasets import by_dataset
from lalora.report.headline import best, compose
from lalora.report.look import Look, looks
from lalora.report.published import COLUMNS, beside
from lalora.report.schema import Evaluation, Results, Run
from lalora.report.series import PANELS, forecasts, points, smooth
from lalora.report.summary import difference, label, rows
from lalora.report.tiles import tiles


def render(results: Results) -> str:
    """Returns the page of a study as HTML; everything that came from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("lalora.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    winner = best(results)
    forecast = calibration(results)
    return environment.get_template("template.html").render(
        study=results,
        headline=compose(results),
        winner=winner.label if winner else "",
        tiles=tiles(results),
        rows=rows(results),
        looks=looks(results),
        labels=[label(results, run) for run in results.runs],
        datasets=by_dataset(results),
        calibration=forecast,
        calibration_kinds=curvatures(forecast),
        calibration_datasets=datasets(forecast),
        calibration_png=base64.b64encode(calibration_picture(results).png).decode() if forecast else "",
        selected=selection,
        published=beside(results),
        published_columns=COLUMNS,
        costs=by_setting(results),
        cost_headers=HEADERS,
        changes=change_tables(results),
        finished=moment(results.created),
        settings=[list(flat(run.settings)) for run in results.runs],
        recipe=list(flat(results.recipe)),
        numbers=numbers,
        style=_part("style.css"),
        script=_part("charts.js") + _part("report.js"),
        data=plot_data(results),
    )


def plot_data(results: Results) -> dict[str, Any]:
    """Returns what the plots of the page draw from, as plain JSON values; runs keep their order."""
    return {
        "runs": [_run_data(results, run, look) for run, look in zip(results.runs, looks(results), strict=True)],
        "panels": [
            {
                "key": panel.key,
                "title": panel.title,
                "axis": panel.axis,
                "noisy": panel.noisy,
                "marked": not panel.trained,
            }
            for panel in PANELS
        ],
        "changes": [
            {"groups": table.groups, "changes": table.changes, "runs": table.runs} for table in change_tables(results)
        ],
    }


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields nested settings as dotted names with their values as text."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        elif isinstance(value, str):
            yield name, value
        else:
            yield name, json.dumps(value, ensure_ascii=False, default=str)


def moment(iso: str) -> str:
    """Returns an ISO date and time as people write it: 2026-01-31 12:00 UTC; anything else as it is."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso


def _run_data(results: Results, run: Run, look: Look) -> dict[str, Any]:
    curves = {panel.key: points(run, panel) for panel in PANELS}
    return {
        "name": run.name,
        "label": label(results, run),
        "shape": look.shape,
        "dash": " ".join(map(str, look.dash)),
        "size": look.size,
        "points": [_point(results.base, row) for row in run.points],
        "scaled": [_point(results.base, row) for row in run.scaled],
        "curves": curves,
        "smooth": {panel.key: smooth(curves[panel.key]) for panel in PANELS if panel.noisy},
        "forecasts": forecasts(run),
    }


def _point(base: Evaluation, row: Evaluation) -> dict[str, Any]:
    return {
        "step": row.step,
        "target_loss": row.target_loss,
        "source_loss": row.source_loss,
        "gain": difference(base.target_loss, row.target_loss),
        "source_kl": row.source_kl,
        "source_rise": difference(row.source_loss, base.source_loss),
        "heldout_kl": row.heldout_kl,
    }


def _part(name: str) -> Markup:
    return Markup(files("lalora.report").joinpath("page", name).read_text(encoding="utf-8"))
