"""Open a study: load model and data, and refuse what cannot run before anything is written."""

from pathlib import Path

from lalora.evaluation import EvalSet
from lalora.posthoc import Rewind, kept_steps
from lalora.study.recipe.recipe import Recipe
from lalora.study.recipe.settings import StudySettings
from lalora.study.setup.base_model import load_base, load_words
from lalora.study.setup.context import Context, Say, common_identity, run_identity
from lalora.study.setup.data import StudyData, evaluation_set, prepare
from lalora.study.setup.facts import facts
from lalora.study.setup.start import with_adapter
from lalora.study.store.folder import fresh_folder, require_room_for_runs
from lalora.study.store.identity import require_same_run

SHARED = "shared"
"""Folder of what several runs of a study use."""


def open_context(recipe: Recipe, folder: Path, say: Say) -> Context:
    """Load model and data of a study, and refuse what cannot be run before anything is written."""
    # Nothing is written before everything that can be refused was looked at.
    study = recipe.study
    say(f"loading {study.model} and the data")
    base = load_base(study)
    known = facts(base, study.dtype)
    study_data = prepare(study, load_words(study), base.config)
    common = common_identity(study, study_data, **known)
    for plan in recipe.runs:
        require_same_run(folder / plan.name, run_identity(common, study, plan))
    kept = max(len(kept_steps(study.after.get(Rewind.name, ()), plan.settings.steps)) for plan in recipe.runs)
    require_room_for_runs(folder, with_adapter(base, recipe.runs[0].settings), len(recipe.runs), kept)
    shared = folder / SHARED
    evalset, validation = evaluation_sets(study, study_data)
    return Context(study, study_data, evalset, validation, common, shared, say)


def evaluation_sets(study: StudySettings, study_data: StudyData) -> tuple[EvalSet, EvalSet | None]:
    """Prepare what models are measured on, and what settings are chosen by."""
    tasks, tokenizer = fresh_folder(), study_data.tokenizer
    evalset = evaluation_set(study, study_data.domains, tokenizer, tasks / "tasks", study.scored_rows)
    if not study_data.validation:
        return evalset, None
    return evalset, evaluation_set(study, study_data.validation, tokenizer, tasks / "validation", study.validation_rows)
