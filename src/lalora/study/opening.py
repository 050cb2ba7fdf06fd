"""Everything that the runs of a study share, made ready once."""

from pathlib import Path

from lalora.evaluation import EvalSet
from lalora.study.base_model import load_base, load_words
from lalora.study.bench import Bench, Say, common_identity, run_identity
from lalora.study.folder import fresh_folder, require_room_for_runs
from lalora.study.identity import facts, require_same_run
from lalora.study.material import Material, evaluation_set, prepare
from lalora.study.recipe import Recipe
from lalora.study.settings import StudySettings
from lalora.study.start import with_adapter

SHARED = "shared"
"""Folder of what several runs of a study use."""


def open_bench(recipe: Recipe, folder: Path, say: Say) -> Bench:
    """Load model and data of a study, and refuse what cannot be run before anything is written.

    Args:
        recipe: The study.
        folder: Where it is kept.
        say: Tells the user what goes on.

    Returns:
        What its runs share.
    """
    # Nothing is written before everything that can be refused was looked at.
    study = recipe.study
    say(f"loading {study.model} and the data")
    base = load_base(study)
    known = facts(base, study.dtype)
    material = prepare(study, load_words(study), base.config)
    common = common_identity(study, material, **known)
    for plan in recipe.runs:
        require_same_run(folder / plan.name, run_identity(common, plan))
    require_room_for_runs(folder, with_adapter(base, recipe.runs[0].settings), len(recipe.runs))
    shared = folder / SHARED
    evalset, validation = evaluation_sets(study, material)
    return Bench(study, material, evalset, validation, common, shared, say)


def evaluation_sets(study: StudySettings, material: Material) -> tuple[EvalSet, EvalSet | None]:
    """Prepare what models are measured on, and what settings are chosen by.

    Args:
        study: Its settings.
        material: Its data.

    Returns:
        The two; no second one where there is nothing to choose.
    """
    tasks, tokenizer = fresh_folder(), material.tokenizer
    evalset = evaluation_set(study, material.domains, tokenizer, tasks / "tasks", study.scored_rows)
    if not material.validation:
        return evalset, None
    return evalset, evaluation_set(study, material.validation, tokenizer, tasks / "validation", study.validation_rows)
