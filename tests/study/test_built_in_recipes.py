"""Every recipe that comes with the package is valid, names what it shows, and can be told of without the hub."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lalora.study import built_in_recipes, load_recipe
from lalora.study.dry_run.estimate import sizes

NAMES = tuple(built_in_recipes())
PAPER = tuple(name for name in NAMES if name.startswith("paper/"))

# Source, target, and the percentage points called Forgetting and Learning as Table 8 prints them.
TABLE_8 = {
    "LaLoRA λ=2e+06": (5.0, -2.5),
    "LaLoRA λ=200000": (4.9, 0.1),
    "LaLoRA λ=20000": (4.3, 1.0),
    "LaLoRA λ=2000": (4.0, -0.8),
    "LaLoRA λ=200": (3.1, -0.2),
    "LaLoRA λ=20": (2.7, 0.6),
    "LaLoRA λ=2": (1.9, 1.4),
    "MIGU threshold=0.9": (2.9, -3.4),
    "MIGU threshold=0.7": (2.9, 0.6),
    "MIGU threshold=0.5": (1.8, -1.1),
    "L2 λ=0.1": (4.8, -6.4),
    "L2 λ=0.0005": (2.4, 0.1),
    "L2 λ=1e-07": (1.4, -0.4),
    "MiLoRA": (1.4, -1.0),
}
TABLE_10 = {
    "LaLoRA λ=100000": (8.9, 2.0),
    "LaLoRA λ=10000": (9.0, 6.0),
    "LaLoRA λ=2": (3.3, 1.4),
    "MIGU threshold=0.95": (7.9, 0.4),
    "L2 λ=7.5e-05": (7.7, -4.5),
    "MiLoRA": (2.1, -0.0),
}
TABLE_9 = {
    "LaLoRA λ=10000": (7.1, -1.2),
    "LaLoRA λ=200": (4.4, 2.1),
    "LaLoRA λ=2": (1.6, -0.9),
    "MIGU threshold=0.95": (6.5, -0.3),
    "MIGU threshold=0.6": (3.0, -1.9),
    "MIGU threshold=0.5": (2.9, -0.2),
    "L2 λ=0.5": (6.9, -1.3),
    "L2 λ=1e-06": (0.4, -0.7),
    "MiLoRA": (1.1, -1.7),
}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert recipe.runs
    labels = [(plan.label, plan.settings.seed) for plan in recipe.runs]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_have_its_settings_and_a_small_twin(name: str) -> None:
    recipe = load_recipe(name)
    for plan in recipe.runs:
        settings = plan.settings
        assert settings.target_modules == ["q_proj", "k_proj"]
        assert settings.alpha == 2 * settings.rank
        assert settings.dropout == 0.1
        assert sizes(recipe.study, settings).trained > 0
    assert recipe.study.max_length == 512
    assert recipe.study.max_new_tokens == 128
    small = name.replace("paper/", "small/")
    assert small in NAMES or name in ("paper/llama-3.1-8b", "paper/math", "paper/cost", "paper/kfac-two-batches")
    if small in NAMES:
        methods = {plan.method for plan in recipe.runs}
        assert methods <= {plan.method for plan in load_recipe(small).runs}


@pytest.mark.parametrize(
    ("name", "printed"), [("paper/table-1", TABLE_8), ("paper/math", TABLE_9), ("paper/llama-3.1-8b", TABLE_10)]
)
def test_published_numbers_agree_with_the_differences_that_the_paper_prints(
    name: str, printed: dict[str, tuple[float, float]]
) -> None:
    published = {one["run"]: one for one in load_recipe(name).document["published"]}
    assert set(published) == {plan.label for plan in load_recipe(name).runs}
    plain = published["LoRA"]
    for label, differences in printed.items():
        here = [100 * (published[label][key] - plain[key]) for key in ("source_accuracy", "target_accuracy")]
        # Both sides are rounded to 0.1.
        assert here == pytest.approx(differences, abs=0.16), label


@pytest.mark.parametrize(
    ("name", "steps", "epochs"),
    [
        ("paper/table-1", 4350, (5, 10)),
        ("paper/per-dataset", 4350, (5, 10)),
        ("paper/rank", 4350, (5, 10)),
        ("paper/training-length", 4350, range(1, 15)),
        ("paper/math", 4370, range(1, 15)),
        ("paper/llama-3.1-8b", 4350, range(1, 15)),
    ],
)
def test_accuracies_are_read_at_the_epochs_that_the_paper_reads(name: str, steps: int, epochs: Sequence[int]) -> None:
    recipe = load_recipe(name)
    assert max(plan.settings.steps for plan in recipe.runs) == steps
    # 15 epochs; the last one ends the run, where all is measured.
    assert recipe.study.accuracy_at == [round(epoch * steps / 15) for epoch in epochs]


@pytest.mark.parametrize("name", ["small/training-length", "small/rank", "small/per-dataset"])
def test_every_run_of_a_small_study_of_curves_is_measured_on_its_way(name: str) -> None:
    recipe = load_recipe(name)
    for plan in recipe.runs:
        assert any(step < plan.settings.steps for step in recipe.study.evaluate_at)
