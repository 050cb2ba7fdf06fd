"""A study from its recipe to its results."""

from pathlib import Path
from typing import Any

from lalora.assets import load_model, load_tokenizer
from lalora.errors import TrainingDivergedError
from lalora.study.bench import Bench, Say, common_identity, run_identity
from lalora.study.device import resolve_dtype
from lalora.study.folder import held, require_room_for_runs
from lalora.study.identity import facts, key, require_same_run
from lalora.study.material import evaluation_set, prepare
from lalora.study.plan import RunPlan
from lalora.study.recipe import Recipe
from lalora.study.records import write_json
from lalora.study.results import collect
from lalora.study.start import with_adapter
from lalora.study.train_run import is_done, train_run

RESULTS = "results.json"


def run_study(recipe: Recipe, folder: Path, command: str, say: Say) -> dict[str, Any]:
    """Do what is not done yet of a study, and put its results together.

    Args:
        recipe: The study.
        folder: Where everything is kept: a folder a run, and `results.json`.
        command: What the user typed, for the results.
        say: Tells the user what goes on.

    Returns:
        The content of `results.json`.

    Raises:
        LaloraError: If data, model, settings or folder are unfit, or the folder holds runs with other settings.
        TrainingDivergedError: If a run diverged; the others are finished first.
    """
    with held(folder):
        bench = _bench(recipe, folder, say)
        finished: list[RunPlan] = []
        diverged: list[TrainingDivergedError] = []
        results: dict[str, Any] = {}
        for number, plan in enumerate(recipe.runs, 1):
            name = f"{plan.label} ({number}/{len(recipe.runs)})"
            if is_done(folder / plan.name, key(bench.identity(plan))):
                say(f"{name}: done already")
            try:
                train_run(plan, bench, folder / plan.name, name)
            except TrainingDivergedError as error:
                say(f"{name}: {error}")
                diverged.append(error)
                continue
            finished.append(plan)
            results = collect(recipe, finished, bench, folder, command)
            write_json(folder / RESULTS, results)
        if diverged:
            kept = f"; {len(finished)} of {len(recipe.runs)} runs are finished and kept in {folder}"
            raise TrainingDivergedError(f"{diverged[0]}{kept}") from diverged[0]
        return results


def _bench(recipe: Recipe, folder: Path, say: Say) -> Bench:
    # Nothing is written before everything that can be refused was looked at.
    study = recipe.study
    say(f"loading {study.model} and the data")
    base = load_model(study.model, resolve_dtype(study.dtype))
    known = facts(base, study.dtype)
    material = prepare(study, load_tokenizer(study.model), base.config)
    common = common_identity(study, material, **known)
    for plan in recipe.runs:
        require_same_run(folder / plan.name, run_identity(common, plan))
    require_room_for_runs(folder, with_adapter(base, recipe.runs[0].settings), len(recipe.runs))
    shared = folder / "shared"
    evalset = evaluation_set(study, material.domains, material.tokenizer, shared / "tasks", study.scored_rows)
    validation = None
    if material.validation:
        place = shared / "validation"
        validation = evaluation_set(study, material.validation, material.tokenizer, place, study.validation_rows)
    return Bench(study, material, evalset, validation, common, shared, say)
