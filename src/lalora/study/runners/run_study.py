"""A study from its recipe to its results."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from lalora.errors import LaloraError, RunsFailedError, UnexpectedError, as_failure
from lalora.files import is_of_the_disk
from lalora.results.collect import collect
from lalora.results.state import RESULTS, STATE, keep_result, keep_state
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.recipe import Recipe
from lalora.study.run.result import heading, run_result
from lalora.study.run.train_run import train_run
from lalora.study.setup.context import Context, Say
from lalora.study.setup.open_context import open_context
from lalora.study.store.failure import forget_failure, keep_failure
from lalora.study.store.finished import damaged, is_done
from lalora.study.store.folder import held
from lalora.study.store.identity import key
from lalora.study.store.records import read_json

Outcome = tuple[RunPlan, LaloraError | None]
"""A run that is finished, or what it failed with."""


class Runner(Protocol):
    """Does the runs of a study somewhere."""

    def __call__(
        self, recipe: Recipe, plans: list[RunPlan], context: Context, folder: Path
    ) -> Generator[Outcome, None, None]:
        """Do the runs that are not done; tell of each as it ends."""
        ...


def one_by_one(recipe: Recipe, plans: list[RunPlan], context: Context, folder: Path) -> Generator[Outcome, None, None]:
    """Do the runs one by one in this process; yields each as it ends, with the error if it failed."""
    for plan in plans:
        try:
            train_run(plan, context, folder / plan.name, _numbered(plan, recipe))
            yield plan, None
        except Exception as error:
            if is_of_the_disk(error):  # the other runs would meet it too
                raise
            yield plan, as_failure(error)


def run_study(recipe: Recipe, folder: Path, command: str, say: Say, runner: Runner = one_by_one) -> dict[str, Any]:
    """Do what is not done yet of a study, put its results together, and return the content of `results.json`."""
    with held(folder):
        require_same_study(recipe, folder)
        context = open_context(recipe, folder, say)
        finished = [plan for plan in recipe.runs if _is_finished(plan, recipe, context, folder, say)]
        for plan in finished:
            train_run(plan, context, folder / plan.name, plan.label)
        incomplete = _keep(finished, finished, recipe, context, folder, command)
        failed: list[LaloraError] = []
        left = [plan for plan in recipe.runs if plan not in finished]
        with closing(runner(recipe, left, context, folder)) as outcomes:
            for plan, error in outcomes:
                if error is not None:
                    say(f"{plan.label}: {error}")
                    keep_failure(folder / plan.name, error)
                    failed.append(error)
                    continue
                forget_failure(folder / plan.name)
                finished.append(plan)
                incomplete += _keep([plan], finished, recipe, context, folder, command)
        _keep(incomplete, finished, recipe, context, folder, command)
        results = collect(folder) if finished else {}
        if failed:
            kept = f"; {len(finished)} of {len(recipe.runs)} runs are finished and kept in {folder}"
            others = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
            # What nobody can act on comes first: it says more than the others.
            first = next((error for error in failed if isinstance(error, UnexpectedError)), failed[0])
            raise RunsFailedError(f"{first}{others}{kept}") from first
        return results


def _is_finished(plan: RunPlan, recipe: Recipe, context: Context, folder: Path, say: Say) -> bool:
    if is_done(folder / plan.name, key(context.identity(plan))):
        say(f"{_numbered(plan, recipe)}: done already")
        return True
    if broken := damaged(folder / plan.name):
        say(f"{_numbered(plan, recipe)}: {broken} is damaged; the run is done again")
    return False


def _keep(
    new: Sequence[RunPlan], finished: Sequence[RunPlan], recipe: Recipe, context: Context, folder: Path, command: str
) -> list[RunPlan]:
    # What a report of a killed study needs. Returned are the runs that lack what a later run may still fit.
    results = {plan.name: run_result(plan, recipe, context, folder / plan.name) for plan in new}
    for name, result in results.items():
        keep_result(folder, name, result)
    if new:
        names = [plan.name for plan in recipe.runs if plan in finished]
        keep_state(folder, heading(recipe, context, command), names)
    return [plan for plan in new if not results[plan.name]["precision_groups"]]


def require_same_study(recipe: Recipe, folder: Path) -> None:
    """Refuse a folder that holds a study of another name; it may be missing."""
    found = read_json(folder / STATE) or read_json(folder / RESULTS)
    name = found.get("name", recipe.name) if isinstance(found, dict) else recipe.name
    if name != recipe.name:
        raise LaloraError(f"{folder} holds the study '{name}', this one is '{recipe.name}'; choose another --out")


def _numbered(plan: RunPlan, recipe: Recipe) -> str:
    return f"{plan.label} ({recipe.runs.index(plan) + 1}/{len(recipe.runs)})"
