"""The HTML page: one file with everything in it, which asks the network for nothing."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from lalora.report import numbers, selection
from lalora.report.calibration import calibration, curvatures, datasets
from lalora.report.calibration_picture import calibration_picture
from lalora.report.changes import change_tables
from lalora.report.costs import HEADERS, by_setting
from lalora.report.datasets import by_dataset
from lalora.report.headline import best, compose
from lalora.report.heatmaps import heat_maps
from lalora.report.look import looks
from lalora.report.paths import VIEWS, fronts, with_accuracies
from lalora.report.plot_data import plot_data
from lalora.report.published import COLUMNS, beside
from lalora.report.schema import Results
from lalora.report.seeds import several
from lalora.report.summary import label, rows
from lalora.report.tiles import tiles

SCRIPTS = ("charts", "scatter", "tradeoff", "steps", "changes", "report")
"""The parts of the page's script, each of which may use those before it."""


def render(results: Results) -> str:
    """Returns the page of a study as HTML; everything that came from outside is escaped."""
    winner = best(results)
    forecast = calibration(results)
    return template("template.html").render(
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
        style=part("style.css"),
        several=several(results),
        fronts=any(fronts(results, view) for view in VIEWS.values()),
        accuracies=with_accuracies(results),
        heatmaps=heat_maps(results),
        script=Markup("").join(part(f"{name}.js") for name in SCRIPTS),
        data=plot_data(results),
    )


def template(name: str) -> Template:
    """Returns a template of the page, which escapes what it is given."""
    environment = Environment(
        loader=PackageLoader("lalora.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


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


def part(name: str) -> Markup:
    """Returns a file of the page as it is."""
    return Markup(files("lalora.report").joinpath("page", name).read_text(encoding="utf-8"))
