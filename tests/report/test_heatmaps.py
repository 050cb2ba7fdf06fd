"""Maps of what settings give over plain LoRA, by hand and against made-up results of the recipes."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

from lalora.report.heat_map import HeatMap
from lalora.report.panels.heatmaps import HeatmapsPanel
from lalora.report.settings import bound, varied
from lalora.results import parse
from lalora.study import load_recipe
from made_up_study import found, page
from synthetic_study import accuracy, kl, loss, source_accuracy, synthetic

SOURCES = ("winogrande", "arc_challenge", "hellaswag")


def heat_maps(results: dict[str, Any]) -> list[HeatMap]:
    return HeatmapsPanel(found(results)).maps


def run(method: str, seed: int, settings: dict[str, Any], **final: Any) -> dict[str, Any]:
    label = f"{method} {settings}"
    told = {"name": f"{label} {seed}", "method": method, "label": label, "seed": seed}
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
    loss, removed = heat_maps(grid({4: 0.2, 16: 0.4}, FULL))
    assert (removed.heading, removed.unit, removed.cells) == ("LaLoRA", "nats per token", "mean over 2 seeds")
    assert (loss.quantity.title, removed.quantity.title) == (
        "learning (target loss)",
        "forgetting (KL on source removed)",
    )
    assert (removed.row_title, removed.rows) == ("rank", ["4", "16"])
    assert (removed.column_title, removed.columns) == ("λ", ["1", "10"])
    assert removed.values == [pytest.approx([0.05, 0.05]), pytest.approx([0.10, 0.25])]
    assert loss.values == [pytest.approx([0.04, 0.04]), pytest.approx([0.16, 0.16])]
    assert (removed.bars, removed.over) == (pytest.approx([0.05, 0.175]), "λ")
    assert loss.bars == pytest.approx([0.04, 0.16])
    assert removed.text(0.25) == "+0.250"
    assert removed.worth(removed.values[0][0]) == pytest.approx(0.2)
    assert loss.worth(loss.values[0][0]) == pytest.approx(-0.25)
    assert loss.worth(None) == 0


def test_plain_lora_of_one_rank_stands_for_all() -> None:
    _, removed = heat_maps(grid({16: 0.4}, FULL))
    assert removed.values[0] == pytest.approx([0.25, 0.25])


def test_an_unfinished_plain_lora_is_not_replaced_by_one_of_another_rank() -> None:
    content = grid({4: 0.2, 16: 0.4}, FULL)
    (late,) = (one for one in content["runs"] if one["method"] == "lora" and one["name"].endswith("4, 'alpha': 8} 1"))
    content["runs"].remove(late)
    _, removed = heat_maps(content)
    # Of rank 4 seed 0 alone: 0.2 - 0.15 and 0.2 - 0.25.
    assert removed.values == [pytest.approx([0.05, -0.05]), pytest.approx([0.10, 0.25])]
    assert removed.cells == "mean over 1 to 2 seeds"


def test_a_hole_in_a_grid_is_a_dash_and_no_bar_is_compared() -> None:
    content = grid({16: 0.4}, {key: FULL[key] for key in list(FULL)[:3]})
    _, removed = heat_maps(content)
    assert removed.values == [[pytest.approx(0.25), None], pytest.approx([0.10, 0.25])]
    assert removed.bars is None
    assert removed.text(None) == "–"
    text = page(content)
    assert "<td>–</td>" in text
    assert 'class="bar"' not in text


def test_fewer_than_two_rows_or_columns_are_no_map() -> None:
    assert heat_maps(grid({16: 0.4}, {key: FULL[key] for key in list(FULL)[:2]})) == []
    unmeasured = grid({16: 0.4}, FULL)
    for one in unmeasured["runs"]:
        if one["settings"]["rank"] == 4:
            one["final"] = None
    assert heat_maps(unmeasured) == []


def test_a_third_setting_has_a_map_for_each_of_its_values() -> None:
    content = grid({16: 0.4}, FULL)
    first = [one for one in content["runs"] if one["method"] == "lalora"]
    for one in first:
        settings = {**one["settings"], "prior": 2.0}
        final = {**one["final"], "source_kl": one["final"]["source_kl"] - 0.04}
        content["runs"].append({**one, "name": f"{one['name']} again", "settings": settings, "final": final})
        one["settings"]["prior"] = 1.0
    maps = [one for one in heat_maps(content) if one.quantity.removed]
    assert [one.heading for one in maps] == ["LaLoRA, prior = 1", "LaLoRA, prior = 2"]
    assert [one.values[0] for one in maps] == [pytest.approx([0.25, 0.25]), pytest.approx([0.29, 0.29])]


def test_what_follows_the_columns_is_named_with_the_mean_over_them() -> None:
    content = grid({16: 0.4}, FULL)
    for one in content["runs"]:
        if one["method"] == "lalora":
            one["settings"]["warmup"] = int(one["settings"]["strength"])
    (_, removed) = heat_maps(content)
    assert (removed.over, removed.bars) == ("λ and warmup", pytest.approx([0.25, 0.175]))


def test_studies_that_are_shown_as_one_have_maps_of_their_own() -> None:
    content = grid({16: 0.4}, FULL)
    for one in content["runs"]:
        one["name"] = f"first/{one['name']}"
    twins = [{**one, "name": one["name"].replace("first", "second")} for one in content["runs"]]
    for one in twins:
        one["label"] += " (second)"
        if one["method"] == "lora":
            one["final"] = {**one["final"], "source_kl": 1.4}
    content["runs"] += twins
    maps = [one for one in heat_maps(content) if one.quantity.removed]
    assert [one.heading for one in maps] == ["LaLoRA (first)", "LaLoRA (second)"]
    assert [one.values[0][0] for one in maps] == pytest.approx([0.25, 1.25])


def test_settings_that_another_one_determines_do_not_count() -> None:
    runs = parse(grid({16: 0.4}, FULL)).runs[2:]
    assert varied(runs) == ["strength", "rank"]
    # Bound to the strength, without telling more than it.
    for one in runs:
        one.settings["warmup"] = one.settings["strength"] > 5
    assert varied(runs) == ["strength", "rank"]
    assert varied(runs, first="rank") == ["rank", "strength"]
    assert (bound(runs, to="strength"), bound(runs, to="rank")) == (["warmup"], ["alpha"])


def test_with_accuracies_a_map_counts_percentage_points() -> None:
    content = grid({16: 0.4}, FULL)
    for one in content["runs"]:
        lalora = one["method"] == "lalora"
        one["final"] |= {"source_accuracy": 0.63 if lalora else 0.6, "target_accuracy": 0.2 if lalora else 0.25}
    target, source = heat_maps(content)
    assert source.text(source.values[1][1]) == "+3.0"
    assert target.text(target.values[1][1]) == "−5.0"
    assert source.unit == "percentage points"
    assert (source.worth(source.values[1][1]), target.worth(target.values[1][1])) == (1, -1)


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


def test_what_a_curvature_knew_against_what_it_kept_at_each_strength() -> None:
    weak, strong = [one for one in heat_maps(sources(share=False)) if one.over == "data sets"]
    assert (weak.heading, strong.heading) == ("LaLoRA, λ = 1", "LaLoRA, λ = 10")
    assert (weak.rows, weak.columns) == (["a", "b", "all sources"], ["a", "b"])
    assert (weak.row_title, weak.column_title, weak.cells) == ("curvature knows", "measured on", "one seed a cell")
    # Plain LoRA's 0.4 and 0.5 less what is left; at λ = 10 each run drifted 0.1 more.
    assert weak.values == [pytest.approx([0.3, 0.1]), pytest.approx([0.0, 0.3]), pytest.approx([0.2, 0.2])]
    assert strong.values == [pytest.approx([0.2, 0.0]), pytest.approx([-0.1, 0.2]), pytest.approx([0.1, 0.1])]
    assert (weak.bars, strong.bars) == (pytest.approx([0.2, 0.15, 0.2]), pytest.approx([0.1, 0.05, 0.1]))
    assert weak.framed == strong.framed == {(0, 0), (1, 1)}
    assert strong.worth(strong.values[1][0]) == pytest.approx(-1 / 3)


def test_what_a_curvature_knew_in_accuracy() -> None:
    weak, strong = [one for one in heat_maps(sources(share=True)) if one.over == "data sets"]
    assert [weak.text(value) for value in weak.values[0]] == ["−30.0", "−10.0"]
    assert [strong.text(value) for value in strong.values[0]] == ["−20.0", "0.0"]


def test_bars_begin_at_zero_on_one_scale_for_all_maps_of_a_quantity() -> None:
    content = sources(share=False)
    for one in content["runs"]:
        if one["settings"].get("strength") == 10.0 and one["settings"].get("source_domains") == ["b"]:
            one["final"]["kl"] = {"a": 0.7, "b": 0.6, "held out": 0.0}
    weak, strong = [one for one in heat_maps(content) if one.over == "data sets"]
    assert strong.bars == pytest.approx([0.1, -0.2, 0.1])
    # From -0.2 to 0.2 is the room of all bars.
    assert weak.extent(0.2) == pytest.approx((0.5, 0.5))
    assert strong.extent(-0.2) == pytest.approx((0.0, 0.5))
    assert strong.extent(0.1) == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("name", ["paper/source-data", "small/source-data"])
def test_figures_3b_and_15(name: str) -> None:
    content = synthetic(name)
    recipe = load_recipe(name)
    last = recipe.runs[0].settings.steps
    strengths = list(dict.fromkeys(run["strength"] for run in content["runs"] if run["strength"] is not None))
    seeds = list(dict.fromkeys(run["seed"] for run in content["runs"]))
    maps = [one for one in heat_maps(content) if one.over == "data sets"]
    assert [one.heading for one in maps] == [f"LaLoRA, λ = {strength:g}" for strength in strengths]
    for one, strength in zip(maps, strengths, strict=True):
        assert (one.rows, one.columns) == ([*SOURCES, "all sources"], list(SOURCES))
        assert one.framed == {(0, 0), (1, 1), (2, 2)}
        expected = []
        for known in (*SOURCES, "+".join(SOURCES)):
            label = f"LaLoRA λ={strength:g} source_domains={known}"
            if name.startswith("paper"):
                more = [[accuracy(label, s, d, last) - accuracy("LoRA", s, d, last) for s in seeds] for d in SOURCES]
            else:
                more = [[kl("LoRA", s, d, last) - kl(label, s, d, last) for s in seeds] for d in SOURCES]
            expected.append(more)
        assert one.values == [pytest.approx([fmean(cell) for cell in row]) for row in expected]
        assert one.bars == pytest.approx([fmean(value for cell in row for value in cell) for row in expected])
        assert (one.cells, one.quantity.share) == ("mean over 3 seeds", name.startswith("paper"))


@pytest.mark.parametrize("name", ["paper/batches", "small/batches"])
def test_figures_4_and_16(name: str) -> None:
    recipe = load_recipe(name)
    last = recipe.runs[0].settings.steps
    rows, strengths = (
        ((4, 8, 12, 4000), (20, 2000, 2e6)) if name.startswith("paper") else ((4, 8, 16, 64), (1000, 10000))
    )
    seeds = sorted({plan.settings.seed for plan in recipe.runs})
    learning, forgetting = heat_maps(synthetic(name))

    def more(label: str, seed: int) -> tuple[float, float]:
        pairs = []
        for one in (label, "LoRA"):
            if name.startswith("paper"):
                pairs.append((accuracy(one, seed, "gsm8k", last), source_accuracy(recipe, one, seed, last)))
            else:
                pairs.append((loss(one, seed, "gsm8k", last), -fmean(kl(one, seed, data, last) for data in SOURCES)))
        return pairs[0][0] - pairs[1][0], pairs[0][1] - pairs[1][1]

    for place, one in enumerate((learning, forgetting)):
        labels = [[f"LaLoRA λ={strength:g} source_rows={count}" for strength in strengths] for count in rows]
        expected = [[[more(label, seed)[place] for seed in seeds] for label in row] for row in labels]
        assert one.values == [pytest.approx([fmean(cell) for cell in row]) for row in expected]
        assert one.bars == pytest.approx([fmean(value for cell in row for value in cell) for row in expected])
        assert (one.row_title, one.column_title, one.over) == ("rows per source", "λ", "λ")
        assert one.columns == [f"{strength:g}" for strength in strengths]
    assert learning.rows[:2] == ["4 (1 batch)", "8 (2 batches)"]
    assert (learning.quantity.title[:8], forgetting.quantity.title[:10]) == ("learning", "forgetting")


def test_the_page_writes_and_colours_every_cell(results: dict[str, Any]) -> None:
    assert 'class="heat"' not in page(results)
    text = page(grid({4: 0.2, 16: 0.4}, FULL))
    assert text.count('<td class="better"') == text.count('<td class="worse"') == 4
    assert '<td class="better" style="--part: 0.200">+0.050</td>' in text


def test_the_page_frames_cells_and_draws_a_bar_with_its_number() -> None:
    text = page(sources(share=False))
    # Two of the bars reach 0.2, the longest there is of that quantity.
    assert text.count('style="--start: 0.000; --length: 1.000"></i></span><b>+0.200</b>') == 2
    assert text.count('class="better framed" style="--part: 1.000">+0.300</td>') == 2
    assert "A frame: the curvature knows that data set alone." in text
    assert "A frame" not in page(grid({16: 0.4}, FULL))
    assert "mean over data sets</th>" in text
