"""Several methods in one run: how a recipe names them, what is refused, and that a kill changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from torch import nn
from typing_extensions import Doc

from lalora import LaloraError
from lalora.adapter import trainable_tensors
from lalora.methods import METHODS, Method
from lalora.methods.costs import cost_of
from lalora.options import NonNegative
from lalora.report import Findings, draw
from lalora.results import load_results
from lalora.study import load_recipe, recipe_schema, run_study
from lalora.study.store import records

Recipe = Callable[..., str]
BOTH: list[Any] = [{"lalora": {"curvature": "weight-kfac", "strength": 30}}, {"kl": {"strength": 1, "every": 2}}]


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", lambda said: None)


def test_names_labels_and_settings(recipe_file: Recipe) -> None:
    grid = [{"methods": BOTH, "rank": [2, 4]}, {"methods": ["milora", {"kl": None}]}]
    first, second, third = load_recipe(recipe_file(grid=grid)).runs
    assert first.name == (
        "lalora+kl-lalora.curvature-weight-kfac-lalora.strength-30-kl.strength-1-kl.every-2-rank-2-seed-0"
    )
    assert first.label == "LaLoRA weight-kfac λ=30 + KL λ=1 every=2 rank=2"
    assert second.label == "LaLoRA weight-kfac λ=30 + KL λ=1 every=2 rank=4"
    assert first.method == "lalora+kl"
    assert first.effective["lalora.fisher"] == "token"
    assert (first.effective["kl.strength"], first.effective["source_rows"]) == (1.0, 3)
    assert (third.name, third.label) == ("milora+kl-seed-0", "MiLoRA + KL λ=1")


def test_lists_below_a_method_are_multiplied(recipe_file: Recipe) -> None:
    methods = [{"lalora": {"strength": [10, 30]}}, {"kl": {"strength": [1, 2], "every": 4}}]
    runs = load_recipe(recipe_file(grid=[{"methods": methods}])).runs
    assert [(run.effective["lalora.strength"], run.effective["kl.strength"]) for run in runs] == [
        (10.0, 1.0),
        (10.0, 2.0),
        (30.0, 1.0),
        (30.0, 2.0),
    ]
    assert {run.effective["kl.every"] for run in runs} == {4}


def test_one_in_a_list_is_the_short_form(recipe_file: Recipe) -> None:
    short = load_recipe(recipe_file(grid=[{"method": "kl", "every": 2}])).runs
    assert load_recipe(recipe_file(grid=[{"methods": [{"kl": {"every": 2}}]}])).runs == short


def test_what_stands_in_base_holds_for_all_that_know_it(recipe_file: Recipe) -> None:
    grid: list[dict[str, Any]] = [{"rank": 4}, {"method": "lora"}, {"methods": ["l2", {"migu": {"threshold": 0.2}}]}]
    base = {"methods": BOTH, "strength": 7.0, "threshold": 0.5, "fisher": "sequence"}
    both, plain, others = load_recipe(recipe_file(grid=grid, **base)).runs
    assert (both.method, plain.method, others.method) == ("lalora+kl", "lora", "l2+migu")
    assert (both.effective["lalora.strength"], both.effective["lalora.fisher"]) == (30.0, "sequence")
    assert both.label == "LaLoRA λ=30 + KL λ=1 rank=4"
    assert (others.effective["l2.strength"], others.effective["migu.threshold"]) == (7.0, 0.2)
    assert "source_rows" not in others.effective


def test_an_override_reaches_below_a_method(recipe_file: Recipe) -> None:
    path = recipe_file(grid=[{"methods": BOTH}])
    (run,) = load_recipe(path, ["every=3"]).runs
    assert run.effective["kl.every"] == 3
    assert {run.effective["lalora.strength"] for run in load_recipe(path, ["strength=[5, 6]"]).runs} == {5.0, 6.0}
    with pytest.raises(LaloraError, match="--set every=0: 'every' is 0: input should be greater than or equal to 1"):
        load_recipe(path, ["every=0"])


def test_a_child_that_names_a_method_does_not_inherit_several(recipe_file: Recipe, tmp_path: Path) -> None:
    parent = recipe_file(methods=BOTH, grid=[{}])
    assert load_recipe(parent).runs[0].method == "lalora+kl"
    child = tmp_path / "child.yaml"
    child.write_text(f"extends: {parent}\nbase: {{method: l2}}\ngrid: [{{rank: 2}}]\n")
    assert load_recipe(str(child)).runs[0].method == "l2"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an option that is none": ({"methods": [{"kl": {"strenth": 1}}, "l2"]}, "method 'kl' has no 'strenth': did you"),
    "an option of another": ({"methods": [{"kl": {"rho": 1}}, "l2"]}, "method 'kl' has no 'rho'"),
    "out of range": ({"methods": [{"kl": {"every": 0}}, "l2"]}, "'every' is 0: input should be greater"),
    "a list of none": ({"methods": [{"kl": {"every": []}}, "l2"]}, "the grid has no runs"),
    "no method": ({"methods": [{"kal": {"every": 1}}, "l2"]}, "method 'kal' is unknown: there are lora, "),
    "both forms": ({"method": "kl", "methods": ["l2"]}, "'method' and 'methods' are both there: give one of them"),
    "an option beside them": (
        {"methods": ["kl", "l2"], "every": 2},
        "'every' is an option of a method",
    ),
    "a mapping": ({"methods": {"kl": {}}}, "'methods' is no list of methods: write methods: .{lalora: "),
    "nothing": ({"methods": []}, "'methods' is no list of methods"),
    "two names in one": ({"methods": [{"kl": {}, "l2": {}}]}, "is no method with its options: write methods: "),
    "a number": ({"methods": ["kl", 3]}, "3 is no method with its options"),
    "a key that is none": ({"methods": [{"kl": {1: 2}}]}, "method 'kl' has no '1'"),
    "a setting of the run": ({"methods": [{"kl": {"rank": 3}}]}, "method 'kl' has no 'rank'"),
    "a seed": ({"methods": [{"flat-lora": {"seed": 3}}]}, "method 'flat-lora' has no 'seed'"),
    "what Python alone gives": ({"methods": [{"lalora": {"laplace": "x"}}]}, "method 'lalora' has no 'laplace'"),
    "twice": ({"methods": ["kl", {"kl": {"every": 2}}]}, "method 'kl' is there twice"),
    "with lora": ({"methods": ["lora", "kl"]}, "method 'lora' adds nothing to others: leave it out"),
    "two starts": ({"methods": ["milora", "corda"]}, "methods 'milora' and 'corda' both choose the start"),
    "intruders": ({"methods": ["corda", "intruders"]}, "untouched weights, which 'corda' replaces: leave one of them"),
    "no source text": ({"methods": ["l2", "migu"], "source_rows": 3}, "method 'l2.migu' has no 'source_rows'"),
}


@pytest.mark.parametrize(("entry", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_in_one_line_with_its_place(
    recipe_file: Recipe, entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(LaloraError, match=rf"tiny.yaml, line \d+: .*{said}") as caught:
        load_recipe(recipe_file(grid=[entry]))
    assert "\n" not in str(caught.value)


def test_an_option_in_the_base_that_its_method_does_not_have_is_refused(recipe_file: Recipe) -> None:
    with pytest.raises(
        LaloraError, match=r"tiny.yaml, line \d+: method 'kl' has no 'strenth': did you mean 'strength'"
    ):
        load_recipe(recipe_file(methods=[{"kl": {"strenth": 1}}], grid=[{"method": "lora"}]))


def test_the_schema_knows_every_option_of_every_method() -> None:
    schema = recipe_schema()
    entry = schema["properties"]["grid"]["items"]["properties"]
    for name, kind in METHODS.items():
        one = entry["methods"]["items"]["anyOf"][1]["properties"][name]
        assert one["properties"].keys() == kind.options().keys() - {"seed"}
        for option, described in one["properties"].items():
            assert described["description"] == kind.options()[option].doc
            assert entry[option]["description"]
    assert schema["properties"]["base"]["properties"]["methods"]["description"]
    assert entry["curvature"]["anyOf"][0]["enum"][0] == "diagonal"


def test_costs_add_up() -> None:
    lalora = cost_of({"lalora": {"curvature": "weight-kfac"}})
    kl, seldom = cost_of({"kl": {"every": 1}}), cost_of({"kl": {"every": 4}})
    both = cost_of({"lalora": {"curvature": "weight-kfac"}, "kl": {"every": 4}})
    assert both.step - 1 == pytest.approx(lalora.step - 1 + (kl.step - 1) / 4)
    assert both.ready == lalora.ready + seldom.ready
    assert cost_of({"lora": {}}).step == 1.0


class Killed(BaseException):
    pass


def test_a_kill_changes_nothing_and_the_report_knows_them(
    recipe_file: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid: list[dict[str, Any]] = [
        {"method": "lora"},
        {"method": "lalora", "curvature": "weight-kfac", "strength": 30},
        {"methods": BOTH},
        {"methods": ["milora", {"lalora": {"strength": [1, 10], "refit_every": 2}}, {"flat-lora": {"rho": 0.1}}]},
    ]
    recipe = recipe_file(grid=grid, dropout=0.1, timed_steps=1, forecasts=["diagonal"])
    whole = study(recipe, tmp_path / "whole")
    append, writes = records.append_row, 0

    def killing(path: Path, row: dict[str, Any]) -> None:
        nonlocal writes
        writes += 1
        if writes % 7 == 0:
            raise Killed
        append(path, row)

    with monkeypatch.context() as patched:
        for module in ("train_run", "trainer"):
            patched.setattr(f"lalora.study.run.{module}.append_row", killing)
        found, kills = None, 0
        while found is None:
            try:
                found = study(recipe, tmp_path / "killed")
            except Killed:
                kills += 1
                assert kills < 30
    assert kills > len(grid)
    for one, other in zip(whole["runs"], found["runs"], strict=True):
        assert one["curve"] == other["curve"], one["name"]
        assert one["train"] == other["train"], one["name"]

    lora, alone, both, weak, strong = whole["runs"]
    assert len({run["final"]["target_loss"] for run in whole["runs"]}) == 5
    assert (both["method"], both["label"]) == ("lalora+kl", "LaLoRA weight-kfac λ=30 + KL λ=1 every=2")
    # One fit serves the run of one method and that of two; the other start has a fit of its own.
    parts = [[row["part"] for row in run["costs"]][:3] for run in (lora, alone, both, weak)]
    fitted = ["fit winogrande", "mode"]
    assert parts == [["ready", "forward", "method"], [*fitted, "forward"], *[[*fitted, "ready"]] * 2]
    assert alone["train"][0]["penalty"] == pytest.approx(both["train"][0]["penalty"], rel=1e-5)
    assert weak["curve"][0]["source_kl"] == pytest.approx(0, abs=1e-4)
    assert "forecasts" not in weak["curve"][0]
    assert strong["train"][-1]["penalty"] > weak["train"][-1]["penalty"]
    assert len(list((tmp_path / "whole" / "shared").glob("laplace-*/"))) == 3

    draw(Findings(load_results(tmp_path / "whole")), tmp_path / "whole")
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "LaLoRA weight-kfac λ=30 + KL λ=1 every=2" in page
    assert "milora+lalora+flat-lora" in page
    assert json.loads((tmp_path / "whole" / "results.json").read_text())["runs"][2]["settings"]["kl.every"] == 2


def test_a_method_is_chosen_among_several_settings_of_two(recipe_file: Recipe, tmp_path: Path) -> None:
    methods = [{"lalora": {"strength": [1, 10]}}, "kl"]
    recipe = recipe_file(grid=[{"method": "lora"}, {"methods": methods}], validation_rows=3, select={})
    chosen = study(recipe, tmp_path / "study")["selection"]["methods"]
    assert [(one["method"], one["knob"]) for one in chosen] == [
        ("lora", "learning_rate"),
        ("lalora+kl", "lalora.strength"),
    ]
    assert [len(one["settings"]) for one in chosen] == [1, 2]


@dataclass
class Shrink(Method):
    """A user's own: pulls every weight to zero."""

    name = "shrink"
    label = "Shrink"

    weight: Annotated[NonNegative, Doc("How hard.")] = 1.0

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        for tensor in trainable_tensors(model).values():
            assert tensor.grad is not None
            tensor.grad += self.weight * loss_scale * tensor.detach()


def test_a_script_adds_a_method_of_its_own_and_a_recipe_imports_nothing(
    recipe_file: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe_file(grid=[{"method": "shrink", "weight": [0, 50]}, {"methods": [{"shrink": {"weight": 2}}, "l2"]}])
    with pytest.raises(LaloraError, match=r"unknown key 'weight': did you mean"):
        load_recipe(path)
    named = recipe_file(grid=[{"method": "os:system"}])
    with pytest.raises(LaloraError, match="method 'os:system' is unknown: there are lora, "):
        load_recipe(named)
    path = recipe_file(grid=[{"method": "shrink", "weight": [0, 50]}, {"methods": [{"shrink": {"weight": 2}}, "l2"]}])
    monkeypatch.setitem(METHODS, "shrink", Shrink)
    assert recipe_schema()["properties"]["base"]["properties"]["weight"]["description"] == "How hard."
    results = study(path, tmp_path / "study")
    assert [run["label"] for run in results["runs"]] == [
        "Shrink weight=0",
        "Shrink weight=50",
        "Shrink weight=2 + L2 λ=1",
    ]
    assert results["runs"][0]["final"] != results["runs"][1]["final"]
    wrong = recipe_file(grid=[{"method": "shrink", "weight": -1}])
    with pytest.raises(LaloraError, match="'weight' is -1: input should be greater than or equal to 0"):
        load_recipe(wrong)


def test_options_in_base_belong_to_their_method_alone(recipe_file: Recipe) -> None:
    base = {"methods": [{"lalora": {"strength": 30}}]}
    other, own = load_recipe(recipe_file(grid=[{"method": "kl"}, {"rank": 4}], **base)).runs
    assert other.effective["strength"] == 1.0
    assert own.effective["strength"] == 30.0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"methods": [{"nope": {"x": 1}}]}, "method 'nope' is unknown"),
        ({"methods": [{"kl": {"every": 0}}]}, "'every' is 0"),
    ],
)
def test_methods_in_base_are_checked_whether_a_run_has_them_or_not(
    recipe_file: Recipe, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(LaloraError, match=message):
        load_recipe(recipe_file(grid=[{"method": "lora"}], **entry))


def test_an_option_below_its_method_and_beside_it_is_refused(recipe_file: Recipe) -> None:
    with pytest.raises(LaloraError, match="'strength' is there twice, below 'kl' and beside it"):
        load_recipe(recipe_file(grid=[{"methods": [{"kl": {"strength": 2}}], "strength": 3}]))


def test_set_takes_method_for_methods_and_an_option_by_its_full_name(recipe_file: Recipe) -> None:
    recipe = recipe_file(grid=[{"methods": BOTH}])
    assert [run.method for run in load_recipe(recipe, ["method=lora"]).runs] == ["lora"]
    (run,) = load_recipe(recipe, ["kl.strength=5"]).runs
    assert (run.effective["lalora.strength"], run.effective["kl.strength"]) == (30.0, 5.0)
    (run,) = load_recipe(recipe_file(grid=[{"method": "lora"}]), ["methods=[l2, kl]"]).runs
    assert run.method == "l2+kl"
