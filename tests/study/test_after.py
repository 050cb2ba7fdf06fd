"""Rivals of softening in a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.results.load import load_results
from lalora.study import load_recipe, run_study
from lalora.study.run import kept_adapter, trainer
from tiny_study import outcome

ADAPTER = {"lines": 1.0, "rewind": 1.0, "intruders": 0.0, "fisher-average": 0.0, "regmean": 0.0, "mats": 0.0}
"""Where each rival leaves the adapter as it is."""
BASE = {"lines": None, "rewind": 0.0, "intruders": None, "fisher-average": 1e12, "regmean": 1e12, "mats": None}
"""Where it gives the base."""


def test_a_study_measures_every_run_by_every_rival(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    after = {name: [adapter, *([] if (base := BASE[name]) is None else [base])] for name, adapter in ADAPTER.items()}
    after["rewind"] += [0.5]
    grid = [{"method": "lora", "learning_rate": 3e-2}, {"method": "milora", "learning_rate": 3e-2}]
    recipe = load_recipe(recipe_file(after=after, soften=[1.0], soften_rows=3, grid=grid))
    results = run_study(recipe, tmp_path / "study", "lalora run tiny", print)
    for run in results["runs"]:
        at = {(row["rival"], row["knob"]): row for row in run["after"]}
        assert list(at) == [(name, knob) for name, knobs in after.items() for knob in knobs]
        for name, adapter in ADAPTER.items():
            assert at[name, adapter]["kl"] == pytest.approx(run["final"]["kl"], rel=1e-3, abs=1e-6)
            if (base := BASE[name]) is not None:
                assert at[name, base]["source_kl"] == pytest.approx(0, abs=1e-6)
        (halfway,) = [row for row in run["curve"] if row["step"] == 2]
        assert at["rewind", 0.5]["kl"] == pytest.approx(halfway["kl"], rel=1e-3)
        assert not (tmp_path / "study" / run["name"] / "checkpoints").exists()
    # The rivals of one adapter share their fits, and those of one seed the base's.
    told = results["runs"][0]["after_costs"]
    fits = {(row["rival"], row["part"]): row["seconds"] for row in told if "kfac" in row["part"]}
    assert fits["soften", "target weight-kfac"] == fits["mats", "target weight-kfac"]
    assert len({seconds for (_, part), seconds in fits.items() if part == "source weight-kfac"}) == 1
    assert len(list((tmp_path / "study" / "shared").glob("softening-*/laplace.json"))) == 1
    read = load_results(tmp_path / "study")
    assert read.rivals["mats"].label == "MaTS"
    assert read.runs[0].after[0].rival == "lines"
    assert read.runs[0].after_costs[0].seconds is not None


class Killed(BaseException):
    """Not even `except Exception` sees it, as with a real kill."""


def test_killed_again_and_again_it_ends_the_same(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = {"rewind": [0.25, 0.6], "regmean": [0.1, 1.0]}
    recipe = load_recipe(recipe_file(after=after, soften=[1.0], soften_rows=3, grid=[{"method": "lora"}]))
    run_study(recipe, tmp_path / "whole", "lalora run tiny", print)
    append = kept_adapter.append_row
    written = 0

    def killing(path: Path, row: dict[str, Any]) -> None:
        nonlocal written
        written += 1
        if written % 8 == 0:
            with path.open("a") as file:
                file.write(json.dumps(row)[:9])
            raise Killed
        append(path, row)

    for module in (kept_adapter, trainer):
        monkeypatch.setattr(module, "append_row", killing)
    kills = 0
    while True:
        try:
            run_study(recipe, tmp_path / "killed", "lalora run tiny", print)
            break
        except Killed:
            kills += 1
            assert kills < 30
    assert kills > 1
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"ties": [1.0]}, "rival 'ties' is unknown: there are lines, rewind"),
        ({"lines": [1.5]}, r"lines: α is the factor .*, from 0 to 1, not 1\.5"),
        ({"mats": [-1]}, "mats: λ is the weight of the base, 0 or more, and finite, not -1"),
        ({"mats": ["much"]}, r"'after\.mats\.0' is 'much'"),
    ],
)
def test_unknown_rivals_and_impossible_knobs_are_refused(
    recipe_file: Callable[..., str], after: dict[str, Any], message: str
) -> None:
    with pytest.raises(LaloraError, match=message):
        load_recipe(recipe_file(after=after))


def test_a_study_without_rivals_is_the_study_that_it_was(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plain = run_study(load_recipe(recipe_file(grid=[{"method": "lora"}])), folder, "lalora run tiny", print)
    none = load_recipe(recipe_file(grid=[{"method": "lora"}], after={}, soften_rows=5))
    assert run_study(none, folder, "lalora run tiny", print)["runs"] == plain["runs"]
