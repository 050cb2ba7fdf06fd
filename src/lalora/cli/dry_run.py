"""`lalora run --dry-run`: what a study would do, without doing it."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from lalora.assets import load_config, load_tokenizer
from lalora.domains.load import is_local, load_domain
from lalora.errors import LaloraError
from lalora.study import Recipe
from lalora.study.estimate import seconds, sizes, state


def dry_run(recipe: Recipe, folder: Path) -> None:
    """Print the runs of a study, what is done of them, and an estimate of memory and time.

    Args:
        recipe: The study.
        folder: Where it would be kept.
    """
    unchecked = _check(recipe)
    console = Console()
    table = Table(Column("run", overflow="fold"), "rank", "steps", "rows a step", "state", box=None)
    states = {plan.name: state(plan, folder / plan.name) for plan in recipe.runs}
    for plan in recipe.runs:
        rows = plan.settings.batch_size * plan.settings.accumulation
        table.add_row(plan.name, str(plan.settings.rank), str(plan.settings.steps), str(rows), states[plan.name])
    console.print(table)
    counted = ", ".join(f"{count} {name}" for name, count in Counter(states.values()).items())
    print(f"{len(recipe.runs)} runs of {recipe.study.model} in {folder}: {counted}")
    if unchecked:
        print(f"not on this machine, so not checked: {', '.join(unchecked)}")
    left = [plan for plan in recipe.runs if states[plan.name] != "done"]
    try:
        largest = max((sizes(recipe.study, plan.settings) for plan in recipe.runs), key=lambda size: size.memory)
        print(
            f"memory: {largest.memory / 2**30:.1f} GiB for {largest.frozen / 1e9:.2f} billion frozen weights, up to "
            f"{largest.trained / 1e6:.1f} million of an adapter, its gradients and AdamW; activations come on top"
        )
        if left:
            took, reckoned = seconds(recipe.study, left, folder)
            print(f"training: about {timedelta(seconds=round(took))} ({reckoned}); measuring comes on top")
    except LaloraError as error:
        print(f"memory and time: not known ({error})")


def _check(recipe: Recipe) -> list[str]:
    # What lies here is read, so that a dry run refuses what the run would; nothing is fetched.
    study, elsewhere = recipe.study, []
    if is_local(study.model):
        load_config(study.model)
        load_tokenizer(study.model)
    else:
        elsewhere.append(study.model)
    for name, place in {**study.sources, **study.target, **study.held_out}.items():
        if is_local(place):
            load_domain(name, place)
        else:
            elsewhere.append(f"{name} ({place})")
    return elsewhere
