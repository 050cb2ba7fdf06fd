"""A study from its recipe to its report."""

from pathlib import Path
from typing import Any

from lalora.adapter import trainable_tensors
from lalora.assets import load_model, load_tokenizer
from lalora.errors import TrainingDivergedError
from lalora.report import draw
from lalora.study.bench import Bench, Say, common_identity
from lalora.study.device import resolve_dtype
from lalora.study.folder import held, require_room
from lalora.study.identity import facts, key, require_same_run
from lalora.study.material import evaluation_set, prepare
from lalora.study.plan import RunPlan
from lalora.study.recipe import Recipe
from lalora.study.records import write_json
from lalora.study.results import collect
from lalora.study.start import with_adapter
from lalora.study.train_run import is_done, train_run

# An adapter, its two AdamW moments, and room for the checkpoint that replaces the last one.
_COPIES_A_RUN = 1 + 3 * 3


def run_study(recipe: Recipe, folder: Path, command: str, say: Say) -> dict[str, Any]:
    """Do what is not done yet of a study, and draw its report.

    Args:
        recipe: The study.
        folder: Where everything is kept: a folder a run, `results.json`, pictures and `report.html`.
        command: What the user typed, for the report.
        say: Tells the user what goes on.

    Returns:
        The content of `results.json`.

    Raises:
        LaloraError: If data, model, settings or folder are unfit, or the folder holds runs with other settings.
        TrainingDivergedError: If a run diverged; the others are finished and drawn first.
    """
    with held(folder):
        bench = _bench(recipe, folder, say)
        for plan in recipe.runs:
            require_same_run(folder / plan.name, bench.identity(plan))
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
            write_json(folder / "results.json", results)
        if finished:
            draw(results, folder)
        if diverged:
            kept = f"; {len(finished)} of {len(recipe.runs)} runs are finished and kept in {folder}"
            raise TrainingDivergedError(f"{diverged[0]}{kept}") from diverged[0]
        return results


def _bench(recipe: Recipe, folder: Path, say: Say) -> Bench:
    study = recipe.study
    say(f"loading {study.model} and the data")
    base = load_model(study.model, resolve_dtype(study.dtype))
    known = facts(base, study.dtype)
    material = prepare(study, load_tokenizer(study.model), base.config)
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    evalset = evaluation_set(study, material, shared / "tasks")
    model = with_adapter(base, recipe.runs[0].settings)
    adapter = 4 * sum(tensor.numel() for tensor in trainable_tensors(model).values())
    require_room(folder, adapter * (len(recipe.runs) + _COPIES_A_RUN))
    return Bench(study, material, evalset, common_identity(study, material, **known), shared, say)
