"""Recipes: what they expand to, and that every mistake is named by key and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lalora.errors import LaloraError
from lalora.study import built_in_recipes, load_recipe

BASE = """\
base:
  model: smollm2-135m
  sources: {winogrande: embedded}
  target: {gsm8k: embedded}
  steps: 4
"""
GRID = """\
grid:
  - {method: lora}
"""


@pytest.fixture
def complaint(tmp_path: Path) -> Callable[..., str]:
    """Writes a recipe that is wrong and returns what is said of it."""

    def read(text: str, *overrides: str) -> str:
        path = tmp_path / "wrong.yaml"
        path.write_text(text)
        with pytest.raises(LaloraError) as caught:
            load_recipe(str(path), overrides)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{tmp_path}/", "")

    return read


def test_lists_in_the_grid_are_multiplied_and_every_run_is_done_with_every_seed(
    recipe_file: Callable[..., str],
) -> None:
    grid = [{"method": "lora"}, {"method": "lalora", "strength": [1, 0.5], "rank": [2, 4]}]
    recipe = load_recipe(recipe_file(grid=grid, seeds=[3, 4]))
    assert [run.name for run in recipe.runs] == [
        *(f"lora-seed-{seed}" for seed in (3, 4)),
        *(
            f"lalora-strength-{strength}-rank-{rank}-seed-{seed}"
            for strength in ("1", "0.5")
            for rank in (2, 4)
            for seed in (3, 4)
        ),
    ]
    last = recipe.runs[-1]
    assert (last.effective["strength"], last.settings.rank, last.settings.seed) == (0.5, 4, 4)
    assert last.label == "LaLoRA λ=0.5 rank=4"
    assert recipe.runs[0].label == recipe.runs[1].label == "LoRA"


def test_a_label_tells_curvatures_and_priors_apart(recipe_file: Callable[..., str]) -> None:
    grid = [{"method": "lalora", "strength": 1, "curvature": ["kfac", "weight-kfac"], "prior": [0, "auto"]}]
    assert [run.label for run in load_recipe(recipe_file(grid=grid)).runs] == [
        "LaLoRA kfac λ=1",
        "LaLoRA kfac λ=1 prior=auto",
        "LaLoRA weight-kfac λ=1",
        "LaLoRA weight-kfac λ=1 prior=auto",
    ]


def test_a_method_looks_at_its_own_settings_only(recipe_file: Callable[..., str]) -> None:
    plain, penalised, _ = load_recipe(recipe_file(fisher="token")).runs
    assert {"strength", "fisher", "source_rows"}.isdisjoint(plain.effective)
    assert penalised.effective["fisher"] == "token"


def test_a_list_of_modules_is_one_setting_and_a_list_of_lists_is_several(recipe_file: Callable[..., str]) -> None:
    one = load_recipe(recipe_file(grid=[{"method": "lora", "target_modules": ["q_proj", "k_proj"]}]))
    assert [run.settings.target_modules for run in one.runs] == [["q_proj", "k_proj"]]
    two = load_recipe(recipe_file(grid=[{"method": "lora", "target_modules": [["q_proj"], ["k_proj"]]}]))
    assert [run.name for run in two.runs] == ["lora-target_modules-q_proj-seed-0", "lora-target_modules-k_proj-seed-0"]


def test_overrides_replace_a_setting_wherever_it_stands(recipe_file: Callable[..., str]) -> None:
    recipe = load_recipe(recipe_file(), ["strength=[2]", "learning_rate=1e-3", "seeds=[0, 1]"])
    assert {run.effective["strength"] for run in recipe.runs if run.method == "lalora"} == {2.0}
    assert {run.settings.learning_rate for run in recipe.runs} == {1e-3}
    assert len(recipe.runs) == 4
    assert recipe.document["base"]["learning_rate"] == 1e-3


def test_every_built_in_recipe_is_valid() -> None:
    assert {"quickstart", "smoke"} <= set(built_in_recipes())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE + "  learning_rte: 1.0\n" + GRID, "wrong.yaml, line 6: unknown key 'learning_rte': did you mean"),
        (BASE + "  rank: many\n" + GRID, "wrong.yaml, line 6: 'rank' is 'many': input should be a valid integer"),
        (BASE + "  rank: true\n" + GRID, "wrong.yaml, line 6: 'rank' is True: input should be a valid integer"),
        (BASE + "  seed: 3\n" + GRID, "wrong.yaml, line 6: unknown key 'seed': list the seeds at the top"),
        (
            BASE + "  fisher: true_fisher\n" + GRID,
            "wrong.yaml, line 6: 'fisher' is 'true_fisher', which is unknown: choose",
        ),
        (BASE + "  steps: 5\n" + GRID, "wrong.yaml, line 6: 'steps' is there twice, first in wrong.yaml, line 5"),
        (BASE + "  scored_rows: 0\n" + GRID, "wrong.yaml, line 6: 'scored_rows' is 0: input should be greater"),
        (BASE + GRID + "    rnk: 3\n", "wrong.yaml, line 8"),
        (BASE + "grid:\n  - {method: lora, rnk: 3}\n", "wrong.yaml, line 7: unknown key 'rnk': did you mean 'rank'?"),
        (BASE + "grid:\n  - {method: lora, model: x}\n", "wrong.yaml, line 7: 'model' is the same for all runs"),
        (BASE + "grid:\n  - {method: lora, strength: 3}\n", "wrong.yaml, line 7: method 'lora' has no 'strength'"),
        (BASE + "grid:\n  - {method: magic}\n", "wrong.yaml, line 7: method 'magic' is unknown: there are lora, "),
        (BASE + "grid:\n  - {rank: 2}\n", "wrong.yaml, line 7: this entry of the grid has no 'method'"),
        (BASE + "grid:\n  - method: lalora\n    strength: -1\n", "wrong.yaml, line 8: 'strength' is -1: input should"),
        (BASE + "grid:\n  - method: lalora\n    strength: .nan\n", "wrong.yaml, line 8: 'strength' is nan: input"),
        (BASE + "grid:\n  - method: lalora\n    strength: [1, -1]\n", "wrong.yaml, line 8: 'strength' is -1: input"),
        (BASE + "grid: []\n", "wrong.yaml, line 6: the grid has no runs"),
        (BASE + "grid:\n  - {method: lalora, strength: []}\n", "wrong.yaml, line 6: the grid has no runs"),
        (BASE + GRID + "seeds: []\n", "wrong.yaml, line 8: 'seeds' is []: list should have at least 1 item"),
        (BASE + GRID + "seeds: [-1]\n", "wrong.yaml, line 8: 'seed' is -1: input should be greater"),
        (BASE + GRID + "selekt: 1\n", "wrong.yaml, line 8: unknown key 'selekt'"),
        (BASE, "wrong.yaml: 'grid' is missing"),
        (GRID, "wrong.yaml: 'base' is missing"),
        ("base: {steps: 4}\n" + GRID, "wrong.yaml, line 1: 'model' is missing"),
        ("base: 3\n" + GRID, "wrong.yaml, line 1: 'base' is 3: input should be a valid dictionary"),
        ("- 1\n", "wrong.yaml: a recipe is a mapping"),
        ("", "wrong.yaml: a recipe is a mapping"),
        ("base: {\n", "wrong.yaml, line 2: not valid YAML"),
        ("base: &a [*a]\n" + GRID, "wrong.yaml"),
        (BASE.replace("winogrande", "winogrand") + GRID, "wrong.yaml, line 3: 'sources' is {'winogrand': 'embedded'}"),
        (BASE.replace("gsm8k", "winogrande") + GRID, "'winogrande' stands in two of sources, target and held_out"),
        (BASE.replace("{winogrande: embedded}", "{}") + GRID, "wrong.yaml, line 3: 'sources' is empty"),
        (
            BASE + "  accuracy_at: [2]\n" + GRID,
            "wrong.yaml, line 1: accuracy_at measures nothing without accuracy_rows",
        ),
        (
            BASE + "grid:\n  - {method: lalora, fisher: batch, curvature: kfac}\n",
            "line 7: fisher='batch' does not factor: use token",
        ),
    ],
)
def test_a_mistake_is_named_by_key_and_line(complaint: Callable[..., str], text: str, said: str) -> None:
    assert said in complaint(text)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("strength=-1", "--set strength=-1: 'strength' is -1: input should be greater"),
        ("rank", "--set rank: write it as key=value"),
        ("rank=[", "--set rank=[: not a YAML value"),
        ("rank=x", "--set rank=x: 'rank' is 'x'"),
        ("rnk=3", "--set rnk=3: unknown key 'rnk': did you mean 'rank'?"),
        ("seeds=[]", "--set seeds=[]: 'seeds' is []"),
        ("steps=0", "--set steps=0: 'steps' is 0"),
    ],
)
def test_a_mistake_in_an_override_is_named(complaint: Callable[..., str], override: str, said: str) -> None:
    assert said in complaint(BASE + "grid:\n  - {method: lora}\n  - {method: lalora, strength: 1}\n", override)


def test_an_unknown_recipe_lists_the_built_in_ones() -> None:
    with pytest.raises(LaloraError, match="no recipe 'quickstrat': built in are .*quickstart, rivals, small/batches"):
        load_recipe("quickstrat")


def test_a_recipe_file_that_is_not_there_is_named() -> None:
    with pytest.raises(LaloraError, match=r"gone\.yaml: there is no such file"):
        load_recipe("gone.yaml")


def test_a_prior_out_of_range_is_named_without_words_of_pydantic(recipe_file: Callable[..., str]) -> None:
    with pytest.raises(LaloraError, match="'prior' is -1: input should be greater than or equal to 0"):
        load_recipe(recipe_file(grid=[{"method": "lalora", "prior": -1}]))


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_recipe_takes_what_it_does_not_say_from_the_one_it_extends(
    recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    parent = recipe_file(rank=3)
    child = write(tmp_path, "child.yaml", f"extends: {parent}\nbase: {{steps: 9}}\ngrid: [{{method: lora}}]\n")
    (plan,) = load_recipe(child).runs
    assert (plan.settings.rank, plan.settings.steps, plan.settings.batch_size) == (3, 9, 2)
    assert load_recipe(child, ["rank=5"]).runs[0].settings.rank == 5
    bare = write(tmp_path, "bare.yaml", f"extends: {parent}\ngrid: [{{method: lora}}]\n")
    assert load_recipe(bare).runs[0].settings.steps == 4
    # A mistake is named where it was made.
    wrong = recipe_file(rank=0)
    with pytest.raises(LaloraError, match=r"tiny.yaml, line \d+: 'rank' is 0"):
        load_recipe(child)
    assert wrong == parent


def test_what_is_extended_is_looked_for_beside_the_recipe_and_brings_its_notes(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe_file()
    parent = (tmp_path / "tiny.yaml").read_text()
    (tmp_path / "tiny.yaml").write_text(f"notes: [one]\n{parent}")
    child = write(tmp_path, "child.yaml", "extends: tiny.yaml\nnotes: [two]\ngrid: [{method: lora}]\n")
    monkeypatch.chdir("/")
    assert load_recipe(child).document["notes"] == ["one", "two"]
    with pytest.raises(LaloraError, match="--set extends=x: a recipe extends what it says itself"):
        load_recipe(child, ["extends=x"])


def test_an_override_changes_every_run_also_where_an_entry_has_the_key(recipe_file: Callable[..., str]) -> None:
    recipe = recipe_file(grid=[{"method": "lora"}, {"method": "lalora", "steps": 7}])
    assert [plan.settings.steps for plan in load_recipe(recipe).runs] == [4, 7]
    assert [plan.settings.steps for plan in load_recipe(recipe, ["steps=9"]).runs] == [9, 9]


def test_a_recipe_with_published_numbers_can_be_narrowed() -> None:
    recipe = load_recipe("paper/table-1", ["grid=[{method: lora}]", "seeds=[1]"])
    assert [plan.name for plan in recipe.runs] == ["lora-seed-1"]


def test_what_cannot_be_extended(tmp_path: Path) -> None:
    loop = write(tmp_path, "loop.yaml", f"extends: {tmp_path / 'loop.yaml'}\ngrid: [{{method: lora}}]\n")
    with pytest.raises(LaloraError, match=r"loop.yaml, line 1: .* extends itself"):
        load_recipe(loop)
    lost = write(tmp_path, "lost.yaml", "extends: nowhere\ngrid: [{method: lora}]\n")
    with pytest.raises(LaloraError, match="no recipe 'nowhere'"):
        load_recipe(lost)


def test_sources_and_published_runs_that_are_not_there(recipe_file: Callable[..., str]) -> None:
    with pytest.raises(LaloraError, match="source_domains names 'hellaswag', which is no source of this study"):
        load_recipe(recipe_file(grid=[{"method": "lalora", "source_domains": [["winogrande"], ["hellaswag"]]}]))
    both = load_recipe(recipe_file(grid=[{"method": "lalora", "source_domains": [["winogrande"]]}]))
    assert [plan.settings.source_domains for plan in both.runs] == [["winogrande"]]
    published = [{"run": "LaLoRA λ=7", "source_accuracy": 0.5, "target_accuracy": 0.5}]
    with pytest.raises(LaloraError, match=r"no run is called 'LaLoRA λ=7'; there are LaLoRA λ=1, LaLoRA λ=10, LoRA"):
        load_recipe(recipe_file(published=published))


def test_places_beside_a_recipe_are_found_from_anywhere(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("")
    (folder / "study.yaml").write_text(
        "base: {model: smollm2-135m, sources: {winogrande: rows.jsonl}, target: {gsm8k: embedded}, "
        "method: lora, steps: 1}\n"
        "grid: [{rank: 2}]\n"
    )
    (tmp_path / "other.yaml").write_text("extends: mine/study.yaml\nbase: {}\ngrid: [{method: lora}]\n")
    monkeypatch.chdir("/")
    for recipe in ("mine/study.yaml", "other.yaml"):
        study = load_recipe(str(tmp_path / recipe)).study
        assert Path(study.sources["winogrande"]).samefile(folder / "rows.jsonl")
        assert study.model == "smollm2-135m"
        assert study.target == {"gsm8k": "embedded"}
