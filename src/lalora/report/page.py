"""The HTML page: one file with everything in it, which asks the network for nothing."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from lalora.report import formatting, look
from lalora.report.fences import RULE
from lalora.report.findings import Findings
from lalora.report.headline import headline, key_figures
from lalora.report.inline import shades
from lalora.report.panels.panel import Panel
from lalora.report.rows import PLAIN
from lalora.report.seeds import Seeds
from lalora.report.settings import telling
from lalora.report.setup import caveats, setup
from lalora.report.trajectories import Stop


def render(findings: Findings, panels: Sequence[Panel], pictures: Mapping[str, Markup]) -> str:
    """Returns the page of a study as HTML; everything that came from outside is escaped.

    `pictures` are those that stand on the page, by the names of their panels.
    """
    shown = [panel for panel in panels if not panel.is_empty]
    scripts = ["charts.js", "scatter.js", "steps.js", *(name for panel in shown for name in panel.scripts), "report.js"]
    return template("page.html").render(
        findings=findings,
        results=findings.results,
        headline=headline(findings),
        key_figures=key_figures(findings),
        setup=setup(findings.results),
        caveats=caveats(findings.results),
        panels=shown,
        pictures=pictures,
        formatting=formatting,
        look=look,
        shades=shades(pictures.values()),
        style=part("style.css"),
        script=Markup("").join(part(name) for name in scripts),
        data=plot_data(findings, shown),
    )


def plot_data(findings: Findings, panels: Sequence[Panel]) -> dict[str, Any]:
    """Returns what the plots of the page draw from: the runs, their labels, and what each panel adds."""
    shared = {
        "runs": _runs(findings),
        "labels": _labels(findings),
        "rivals": _rivals(findings),
        "crowded": findings.is_crowded,
        "rule": RULE,
    }
    return shared | {key: value for panel in panels for key, value in panel.plots().items()}


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


def part(name: str) -> Markup:
    """Returns a file of the page as it is."""
    return Markup(files("lalora.report").joinpath("page", name).read_text(encoding="utf-8"))


def _runs(findings: Findings) -> list[dict[str, Any]]:
    return [
        {
            "name": run.name,
            "label": label,
            "shape": drawn.shape,
            "dash": " ".join(map(str, drawn.dash)),
            "size": drawn.size,
            "points": list(path.values()),
        }
        for run, label, drawn, path in zip(
            findings.results.runs, findings.labels, findings.looks, findings.trajectories, strict=True
        )
    ]


def _rivals(findings: Findings) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "label": findings.results.rival(name).label,
            "knob": findings.results.rival(name).knob,
            "shape": look.shape,
            "place": place,
        }
        for place, (name, look) in enumerate(findings.rival_looks.items())
    }


def _labels(findings: Findings) -> list[dict[str, Any]]:
    return [
        {
            "name": seeds.label,
            "label": seeds.label if len(seeds.runs) > 1 else findings.labels[seeds.first],
            "runs": seeds.runs,
            "family": _family(findings, seeds.first),
            "leads": _leads(findings, seeds),
            "settings": telling(findings.results, findings.results.runs[seeds.first]),
            "path": [_stop(stop) for stop in findings.paths[place]],
            "scaled": [_stop(stop) for stop in findings.scaled[place]],
            "softened": [_stop(stop) for stop in findings.softened[place]],
            "after": {
                name: [{"knob": version.knob, **_stop(version.stop)} for version in versions]
                for name, versions in findings.after[place].items()
            },
        }
        for place, seeds in enumerate(findings.seeds)
    ]


def _family(findings: Findings, run: int) -> str:
    method = findings.results.runs[run].method
    return findings.results.names_of(method).label + findings.families[run].removeprefix(method)


def _leads(findings: Findings, seeds: Seeds) -> bool:
    """Whether a label is named first where names collide: that of the headline, and plain LoRA that it is held to."""
    best = None if findings.best is None else findings.best.label
    return seeds.label == best or findings.results.runs[seeds.first].method == PLAIN


def _stop(stop: Stop) -> dict[str, Any]:
    values = {key: at and [at.mean, at.low, at.high] for key, at in stop.values.items()}
    return {"step": stop.step, **values}
