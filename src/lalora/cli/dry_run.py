"""`lalora run --dry-run`: what a study would do, without doing it."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from lalora.assets import statuses
from lalora.errors import LaloraError
from lalora.study import Recipe
from lalora.study.dry_run.estimate import seconds, sizes, state
from lalora.study.dry_run.rehearsal import rehearse
from lalora.study.setup.base_model import base_config


def dry_run(recipe: Recipe, folder: Path) -> None:
    """Print the runs of a study, what is done of them, and an estimate of memory and time.

    A study that would be refused when it opens is refused here, as far as what is on this disk can tell.
    """
    left_out = rehearse(recipe, folder)
    table = Table(Column("run", overflow="fold"), "rank", "steps", "rows a step", "state", box=None)
    states = {plan.name: state(plan, folder / plan.name) for plan in recipe.runs}
    for plan in recipe.runs:
        rows = plan.settings.batch_size * plan.settings.accumulation
        table.add_row(plan.name, str(plan.settings.rank), str(plan.settings.steps), str(rows), states[plan.name])
    Console().print(table)
    counted = ", ".join(f"{count} {name}" for name, count in Counter(states.values()).items())
    print(f"{len(recipe.runs)} runs of {recipe.study.model} in {folder}: {counted}")
    for what in left_out:
        print(f"not checked: {what}")
    try:
        require_shape(recipe.study.model)
        base_config(recipe.study)
    except LaloraError as error:
        print(f"memory and time: not known ({error})")
        return
    largest = max((sizes(recipe.study, plan.settings) for plan in recipe.runs), key=lambda size: size.memory)
    print(
        f"memory: {largest.memory / 2**30:.1f} GiB for {largest.frozen / 1e9:.2f} billion frozen weights, up to "
        f"{largest.trained / 1e6:.1f} million of an adapter, its gradients and AdamW; activations come on top"
    )
    left = [plan for plan in recipe.runs if states[plan.name] != "done"]
    if left:
        took, reckoned = seconds(recipe.study, left, folder)
        print(f"training: about {timedelta(seconds=round(took))} ({reckoned}); measuring comes on top")


def require_shape(model: str) -> None:
    """Refuse an embedded model that is not fetched yet."""
    # Loading the configuration of an embedded model would fetch all of it; from the hub it is a small file.
    if any(one.asset.name == model and one.state == "missing" for one in statuses()):
        raise LaloraError(f"{model} is not fetched yet: lalora assets fetch {model}")
