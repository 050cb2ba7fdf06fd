"""`lalora run`: a study from its recipe to its report."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lalora.cli.show import show
from lalora.cli.voice import resumable, say
from lalora.errors import LaloraError


def run(
    recipe: Annotated[str | None, typer.Argument(help="Name of a built-in recipe, or a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; runs/NAME unless given.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: replace a setting of the recipe; again for more.")
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="Name the built-in recipes.")] = False,
) -> None:
    """Compare methods as a recipe says; what is finished is not done again."""
    from lalora.study import built_in_recipes, load_recipe, run_study

    if names:
        for name, description in built_in_recipes().items():
            print(f"{name:20} {description}")
        return
    checked = load_recipe(_named(recipe), overrides or [])
    folder = out or Path("runs") / checked.name
    command = shlex.join(["lalora", *sys.argv[1:]])
    advice = f"finished runs and checkpoints are kept in {folder}; to go on: {command}"
    with resumable(advice):
        results = run_study(checked, folder, command, say)
    show(results, folder)


def _named(recipe: str | None) -> str:
    if recipe is None:
        raise LaloraError("which recipe? `lalora run quickstart`, or `lalora run --list` for the others")
    return recipe
