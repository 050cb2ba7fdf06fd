"""`lalora fit`: stage I alone, for one's own model."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from lalora.cli.console import QuietCommand, say
from lalora.cli.dataclass_options import with_options_of
from lalora.cli.interrupt import resumable
from lalora.cli.launcher import world_size
from lalora.cli.options import SOURCES, Dtype, Model, Out, Seed, Sources, TargetModules, places
from lalora.errors import LaloraError

SOFTENS = "weight-kfac"
"""The curvature by which an adapter can be softened to a budget."""


def fit(
    model: Model,
    source: Sources = SOURCES,
    out: Out = Path("laplace"),
    rank: Annotated[int | None, typer.Option(min=1, help="LoRA rank (default 16).")] = None,
    alpha: Annotated[int | None, typer.Option(min=1, help="LoRA alpha (default 32).")] = None,
    target_modules: TargetModules = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each source.")] = 32,
    self_source: Annotated[
        int | None,
        typer.Option(min=1, help="Without any source: rows of text that the base model writes; kept as a file."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a batch.")] = 4,
    prior: Annotated[
        str, typer.Option(help="Precision that is penalised besides the curvature: a number or auto.")
    ] = "0",
    base: Annotated[
        bool,
        typer.Option("--base", help="Fit the model without an adapter, for every adapter on it; with a weight-… kind."),
    ] = False,
    dtype: Dtype = "auto",
    plan: Annotated[
        int | None,
        typer.Option(min=2, help="Load nothing, and tell what a fit on rows of so many tokens would take."),
    ] = None,
    seed: Seed = 0,
    **options: Any,
) -> None:
    """Measure how much each adapter weight matters for what a model knows; write a Laplace.

    Over several GPUs: accelerate launch --num_processes N -m lalora fit …
    """
    from lalora.study.single.distributed import join, leave
    from lalora.study.single.fit import fit_laplace

    _refuse_what_excludes(base, rank, alpha, self_source, source)
    settings = {
        "rank": rank or 16,
        "alpha": alpha or 32,
        "target_modules": target_modules or "all-linear",
        "source_rows": rows,
        "source_batch_size": batch_size,
        "prior": prior if prior == "auto" else _number(prior),
        "seed": seed,
        **options,
    }
    if plan is not None:
        from lalora.cli.plan import show_plan

        show_plan(model, dtype, plan, len(source), base, settings)
        return
    with resumable("nothing was written"):
        join(world_size())
        rows_are_left = fit_laplace(model, dtype, places(source), settings, self_source, base, out, say)
        leave()
    softens = rows_are_left and not self_source and options["curvature"] == SOFTENS
    say(f"wrote {out}; next: {_next(model, out, source, softens=softens)}")


def fit_command() -> Any:
    """Build the command, whose options of a fit are those of the library, which takes seconds to import."""
    from lalora.laplace import FitSettings

    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command("fit", cls=QuietCommand)(with_options_of(FitSettings, but=("seed",))(fit))
    return typer.main.get_command(alone)


def _next(model: str, out: Path, source: list[str], *, softens: bool) -> str:
    words = ["lalora", "train", model, "--target", "NAME=FILE", "--laplace", str(out)]
    if softens:
        words += [word for one in source if source != SOURCES for word in ("--source", one)] + ["--budget", "0.02"]
    return shlex.join(words)


def _refuse_what_excludes(
    base: bool, rank: int | None, alpha: int | None, self_source: int | None, source: list[str]
) -> None:
    if base and (rank or alpha):
        raise LaloraError(
            "--base fits the model without an adapter, which has no --rank and no --alpha: leave them out, or say "
            "--factor-rank for the size of the curvature"
        )
    if self_source and source != SOURCES:
        raise LaloraError("--self-source takes the place of every --source: leave one of them out")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise LaloraError(f"--prior must be a number ≥ 0 or auto, not '{text}'") from error
