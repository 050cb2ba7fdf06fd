"""What rivals after training gave, in the report."""

from __future__ import annotations

import csv
import io
from copy import deepcopy
from statistics import fmean
from typing import Any

import pytest

from lalora.report.panels.after_training import AfterTrainingPanel
from lalora.report.panels.tradeoff import TradeoffPanel
from lalora.report.seeds import Spread
from lalora.report.tables import files_of
from lalora.results import parse
from lalora.results.merge import merged
from made_up_study import found
from synthetic_study import synthetic


def two_seeds(results: dict[str, Any]) -> dict[str, Any]:
    first = results["runs"][0]
    second = deepcopy(first) | {"seed": 1}
    for row in second["after"]:
        row["source_kl"] += 0.02
    # What only one seed has is no mean over seeds.
    second["after"][0]["knob"] = 0.4
    return {**results, "runs": [first, second]}


def test_a_rival_is_a_curve_from_the_adapter_on(results: dict[str, Any]) -> None:
    (of,) = found(two_seeds(results)).after
    kl = results["runs"][0]["after"]
    assert list(of) == ["lines", "regmean"]
    assert [version.knob for version in of["lines"]] == [0.75]
    assert [version.knob for version in of["regmean"]] == [0.25, 0.5]
    measured = [version.stop.values["source_kl"] for version in of["regmean"]]
    assert measured == [
        Spread(pytest.approx(kl[place]["source_kl"] + 0.01), pytest.approx(0.02 / 2**0.5), 2) for place in (3, 2)
    ]


def test_the_picture_draws_it_from_where_the_run_ended(results: dict[str, Any]) -> None:
    (first, *_) = results["runs"]
    axes = TradeoffPanel(found({**results, "runs": [first]})).figure().axes[0]
    (line,) = [one for one in axes.lines if one.get_label() == "RegMean"]
    base = results["base"]["target_loss"]
    wanted = [first["final"], first["after"][3], first["after"][2]]
    assert list(line.get_xdata()) == pytest.approx([base - row["target_loss"] for row in wanted])
    assert list(line.get_ydata()) == pytest.approx([row["source_kl"] for row in wanted])


def test_the_table_has_every_version_and_what_it_takes_by_itself(results: dict[str, Any]) -> None:
    (table,) = AfterTrainingPanel(found({**results, "runs": results["runs"][:1]})).tables()
    rows = list(csv.DictReader(io.StringIO(files_of(table)["after-training.csv"].decode())))
    assert [row["label"] for row in rows] == [
        "as trained", "× 0.25", "× 0.5", "softened, λ = 0.1", "softened, λ = 1", "softened, λ = 10",
        "LiNeS, α = 0.75", "LiNeS, α = 0.5", "RegMean, λ = 0.25", "RegMean, λ = 0.5",
    ]  # fmt: skip
    assert [row["seconds"] for row in rows[-3:]] == ["", "8.625", "8.75"]
    assert float(rows[-1]["source_kl"]) == results["runs"][0]["after"][2]["source_kl"]
    assert (rows[-1]["change"], rows[-1]["knob"]) == ("regmean", "0.5")


def test_every_version_of_a_recipe_has_its_row() -> None:
    content = synthetic("after-training")
    (table,) = AfterTrainingPanel(found(content)).tables()
    runs, asked = content["runs"], content["recipe"]["base"]["after"]
    assert len(table.rows) == 1 + sum(map(len, asked.values()))
    for row in table.rows[1:]:
        rows = [one for run in runs for one in run["after"] if (one["rival"], one["knob"]) == (row.change, row.knob)]
        assert len(rows) == 3
        assert row.target_loss.mean == pytest.approx(fmean(one["target_loss"] for one in rows))


def test_a_study_without_rivals_has_no_such_section(results: dict[str, Any]) -> None:
    for run in results["runs"]:
        del run["after"]
    assert AfterTrainingPanel(found(results)).is_empty


def test_studies_that_are_merged_keep_the_names_of_rivals(results: dict[str, Any]) -> None:
    other = deepcopy(results)
    other["rivals"] = {"mats": {"label": "MaTS", "knob": "λ"}}
    assert list(merged({"a": parse(results), "b": parse(other)}).rivals) == ["lines", "regmean", "mats"]
