"""The head of a page says what the study is of."""

from typing import Any

from lalora.report.setup import ONE_SEED, caveats, setup
from lalora.results import parse
from made_up_study import page


def test_model_data_and_training_are_named(seeded: dict[str, Any]) -> None:
    base = {"model": "smollm2-135m", "target": {"gsm8k": "embedded"}, "scored_rows": 32}
    seeded["recipe"]["base"] |= base
    for run in seeded["runs"]:
        run["settings"] |= {"steps": 60, "batch_size": 4}
    seeded["runs"][0]["settings"]["learning_rate"] = 0.0005
    assert setup(parse(seeded)) == [
        ("model", "smollm2-135m"),
        ("target", "gsm8k"),
        ("sources", "winogrande, arc_challenge, hellaswag"),
        ("steps", "60"),
        ("batch", "4"),
        ("learning rate", "0.0005, 0.002"),
        ("seeds", "3"),
        ("scored rows", "32"),
    ]


def test_rows_are_those_that_were_measured_where_that_is_known(results: dict[str, Any]) -> None:
    results["recipe"] = {"base": {"scored_rows": 48}}
    measured = {"rows": {"gsm8k": 48, "winogrande": 20, "lambada": 48}, "accuracy_rows": {"gsm8k": 16}}
    results["base"] = {**results.get("base", {}), **measured}
    told = dict(setup(parse(results)))
    assert told["scored rows"] == "48 each of gsm8k, lambada; 20 of winogrande"
    assert told["rows for accuracy"] == "16 of gsm8k"
    assert ">winogrande, 20 rows</th>" in page(results)


def test_of_merged_studies_both(results: dict[str, Any]) -> None:
    results["recipe"] = {name: {"base": {"model": name, "target": {"gsm8k": "embedded"}}} for name in ("one", "two")}
    told = dict(setup(parse(results)))
    assert (told["model"], told["target"], told["seeds"]) == ("one, two", "gsm8k", "one seed")


def test_a_strange_recipe_is_left_out(results: dict[str, Any]) -> None:
    results["recipe"] = {"base": {"model": ["x"], "target": 3, "sources": None, "scored_rows": {}}}
    for run in results["runs"]:
        run["settings"] = {"steps": {"a": 1}, "learning_rate": True}
    assert dict(setup(parse(results))).keys() == {"learning rate", "seeds"}


def test_both_stand_on_the_page(results: dict[str, Any]) -> None:
    results["recipe"] = {"base": {"model": "<b>mine</b>"}}
    text = page(results)
    assert "<dt>model</dt><dd>&lt;b&gt;mine&lt;/b&gt;</dd>" in text
    assert f"<li>{ONE_SEED}</li>" in text


def test_several_seeds_are_no_caveat(seeded: dict[str, Any]) -> None:
    assert caveats(parse(seeded)) == seeded["notes"]
