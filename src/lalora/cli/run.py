"""`lalora run`: a study from its recipe to its report."""

import json
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lalora.cli.console import say
from lalora.cli.interrupt import resumable
from lalora.errors import LaloraError, RunsFailedError

if TYPE_CHECKING:
    from lalora.study.runners.run_study import Runner


def run(
    recipe: Annotated[str | None, typer.Argument(help="Name of a built-in recipe, or a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study (default runs/NAME).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: replace a setting of the recipe; again for more.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs that go on at once; they share the cores.")] = 1,
    ray: Annotated[str | None, typer.Option(help="Run on a Ray cluster: auto, HOST:PORT, or local.")] = None,
    cpus_per_run: Annotated[int, typer.Option(min=1, help="With --ray: cores of a run.")] = 1,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="With --ray: GPUs of a run; 0.25 packs four on one.")] = 0,
    share: Annotated[
        str | None, typer.Option(help="With --ray: a URL that all nodes reach, such as s3://…, if not all see --out.")
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and what it takes; run nothing.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of recipes, for editors.")] = False,
    names: Annotated[bool, typer.Option("--list", help="Name the built-in recipes.")] = False,
) -> None:
    """Compare methods as a recipe says; what is finished is not done again."""
    from lalora.cli.dry_run import dry_run
    from lalora.cli.show import show
    from lalora.report import Findings, draw
    from lalora.results import parse
    from lalora.study import built_in_recipes, load_recipe, recipe_schema, run_study

    if names:
        recipes = built_in_recipes()
        width = max(map(len, recipes))
        for name, description in recipes.items():
            print(f"{name:{width}}  {description}")
        return
    if schema:
        print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))
        return
    checked = load_recipe(_named(recipe), overrides or [])
    folder = out or Path("runs") / checked.name
    if dry:
        dry_run(checked, folder)
        return
    runner = _runner(workers, ray, share, cpus_per_run, gpus_per_run)
    command = shlex.join(["lalora", *sys.argv[1:]])
    advice = f"finished runs and checkpoints are kept in {folder}; to go on: {command}"
    with _drawn_if_cut_short(folder), resumable(advice):
        findings = Findings(parse(run_study(checked, folder, command, say, runner)))
    draw(findings, folder)
    show(findings, folder)


def _runner(workers: int, ray: str | None, share: str | None, cpus: int, gpus: float) -> "Runner":
    from lalora.study.runners.in_processes import InProcesses
    from lalora.study.runners.on_ray import OnRay
    from lalora.study.runners.run_study import one_by_one
    from lalora.study.runners.shared_storage import Place

    if ray is not None:
        return OnRay(ray, cpus, gpus, Place(share) if share else None, say)
    if share is not None:
        raise LaloraError("--share is where the nodes of a cluster hand on what they reach: it goes with --ray")
    return InProcesses(workers, say) if workers > 1 else one_by_one


@contextmanager
def _drawn_if_cut_short(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except (RunsFailedError, SystemExit):
        # What was found so far can be looked at; why it ended early is the line that counts.
        from lalora.report import Findings, draw
        from lalora.results import load_results

        with suppress(LaloraError):
            draw(Findings(load_results(folder)), folder)
        raise


def _named(recipe: str | None) -> str:
    if recipe is None:
        raise LaloraError("which recipe? `lalora run quickstart`, or `lalora run --list` for the others")
    return recipe
