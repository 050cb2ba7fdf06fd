"""Grids of two settings, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.report.panels.heatmaps import HeatMap, HeatmapsPanel
from lalora.report.settings import varied
from lalora.results import parse
from made_up_study import found, page


def heat_maps(results: dict[str, Any]) -> list[HeatMap]:
    return HeatmapsPanel(found(results)).maps


def run(method: str, seed: int, settings: dict[str, Any], **final: Any) -> dict[str, Any]:
    name = f"{method} {settings} {seed}"
    told = {"name": name, "method": method, "label": name, "seed": seed}
    return {**told, "settings": {**settings, "seed": seed}, "final": final}


def study(runs: list[dict[str, Any]], **base: Any) -> dict[str, Any]:
    methods = {"lalora": {"label": "LaLoRA"}}
    return {"format": 1, "name": "grid", "base": base, "methods": methods, "runs": runs}


def grid(plain: dict[int, float], kl: dict[tuple[int, float], tuple[float, float]]) -> dict[str, Any]:
    """Returns plain LoRA by rank and LaLoRA by rank and strength; KL of seed 0 as given, of seed 1 or of both."""
    runs = [
        run("lora", seed, {"rank": rank, "alpha": 2 * rank}, source_kl=value, target_loss=1.0)
        for rank, value in plain.items()
        for seed in (0, 1)
    ]
    for (rank, strength), values in kl.items():
        for seed, value in enumerate(values):
            settings = {"rank": rank, "alpha": 2 * rank, "strength": strength}
            runs.append(run("lalora", seed, settings, source_kl=value, target_loss=1.0 + rank / 100))
    return study(runs)


FULL = {
    (16, 10.0): (0.10, 0.20),
    (16, 1.0): (0.30, 0.30),
    (4, 1.0): (0.15, 0.15),
    (4, 10.0): (0.25, 0.05),
}


def test_means_over_seeds_against_plain_lora_of_the_same_rank() -> None:
    removed, loss = heat_maps(grid({4: 0.2, 16: 0.4}, FULL))
    assert (removed.family, removed.quantity.title, removed.unit) == (
        "LaLoRA",
        "KL on source removed",
        "nats per token",
    )
    assert (removed.row_title, removed.rows) == ("rank", ["4", "16"])
    assert (removed.column_title, removed.columns) == ("λ", ["1", "10"])
    assert removed.values == [pytest.approx([0.05, 0.05]), pytest.approx([0.10, 0.25])]
    assert loss.values == [pytest.approx([0.04, 0.04]), pytest.approx([0.16, 0.16])]
    assert removed.text(0.25) == "+0.250"
    assert removed.worth(removed.values[0][0]) == pytest.approx(0.2)
    assert loss.worth(loss.values[0][0]) == pytest.approx(-0.25)
    assert loss.worth(None) == 0


def test_plain_lora_of_one_rank_stands_for_all() -> None:
    removed, _ = heat_maps(grid({16: 0.4}, FULL))
    assert removed.values[0] == pytest.approx([0.25, 0.25])


def test_a_grid_with_a_hole_is_no_map() -> None:
    assert heat_maps(grid({16: 0.4}, {key: FULL[key] for key in list(FULL)[:3]})) == []


def test_a_grid_of_one_setting_or_of_three_is_no_map() -> None:
    assert heat_maps(grid({16: 0.4}, {key: FULL[key] for key in list(FULL)[:2]})) == []
    third = grid({16: 0.4}, FULL)
    for number, one in enumerate(third["runs"]):
        one["settings"]["prior"] = number % 3
    assert heat_maps(third) == []


def test_settings_that_another_one_determines_do_not_count() -> None:
    runs = parse(grid({16: 0.4}, FULL)).runs[2:]
    assert varied(runs) == ["strength", "rank"]
    # Bound to the strength, without telling more than it.
    for one in runs:
        one.settings["warmup"] = one.settings["strength"] > 5
    assert varied(runs) == ["strength", "rank"]


def test_with_accuracies_a_map_counts_percentage_points() -> None:
    content = grid({16: 0.4}, FULL)
    for one in content["runs"]:
        lalora = one["method"] == "lalora"
        one["final"] |= {"source_accuracy": 0.63 if lalora else 0.6, "target_accuracy": 0.2 if lalora else 0.25}
    source, target = heat_maps(content)
    assert source.text(source.values[1][1]) == "+3.0"
    assert target.text(target.values[1][1]) == "−5.0"
    assert (source.unit, source.worth(source.values[1][1]), target.worth(target.values[1][1])) == ("pp", 1, -1)


def sources(share: bool) -> dict[str, Any]:
    """Returns a study in which a curvature of `a` alone keeps `a`, one of `b` keeps `b`, and one of all keeps both."""

    def final(a: float, b: float) -> dict[str, Any]:
        if share:
            return {"accuracy": {"a": a, "b": b, "target": 0.0}, "source_accuracy": (a + b) / 2}
        return {"kl": {"a": a, "b": b, "held out": 0.0}, "source_kl": (a + b) / 2}

    runs = [run("lora", 0, {}, **final(0.4, 0.5))]
    for strength, more in ((1.0, 0.0), (10.0, 0.1)):
        for named, a, b in ((["a"], 0.1, 0.4), (["b"], 0.4, 0.2), (None, 0.2, 0.3)):
            settings = {"strength": strength, **({"source_domains": named} if named else {})}
            runs.append(run("lalora", 0, settings, **final(a + more, b + more)))
    base = {"accuracy": {"a": 0.0, "b": 0.0, "target": 0.0}} if share else {"kl": {"a": 0.0, "b": 0.0, "held out": 0.0}}
    return study(runs, **base)


def test_what_a_curvature_knew_against_what_it_kept() -> None:
    *_, last = heat_maps(sources(share=False))
    assert (last.rows, last.columns) == (["a", "b", "all sources"], ["a", "b"])
    # Mean over both strengths of the KL that was removed: 0.4 - (0.1 + 0.2) / 2 = 0.25 and so on.
    assert last.values == [pytest.approx([0.25, 0.05]), pytest.approx([-0.05, 0.25]), pytest.approx([0.15, 0.15])]
    assert last.worth(last.values[1][0]) == pytest.approx(-0.2)


def test_what_a_curvature_knew_in_accuracy() -> None:
    *_, last = heat_maps(sources(share=True))
    assert last.values[0] == pytest.approx([-0.25, -0.05])
    assert last.text(last.values[0][0]) == "−25.0"


def test_the_page_writes_and_colours_every_cell(results: dict[str, Any]) -> None:
    assert 'class="heat"' not in page(results)
    text = page(grid({4: 0.2, 16: 0.4}, FULL))
    assert text.count('<td class="better"') == text.count('<td class="worse"') == 4
    assert '<td class="better" style="--part: 0.200">+0.050</td>' in text
