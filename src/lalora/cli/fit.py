"""`lalora fit`: stage I alone, for one's own model."""

from pathlib import Path
from typing import Annotated

import typer

from lalora.cli.console import say
from lalora.cli.interrupt import resumable
from lalora.cli.launcher import world_size
from lalora.cli.options import SOURCES, Dtype, Model, Out, Seed, Sources, TargetModules, places
from lalora.errors import LaloraError


def fit(
    model: Model,
    source: Sources = SOURCES,
    out: Out = Path("laplace"),
    rank: Annotated[int | None, typer.Option(min=1, help="Of the adapter; 16 unless given.")] = None,
    alpha: Annotated[int | None, typer.Option(min=1, help="Of the adapter; 32 unless given.")] = None,
    target_modules: TargetModules = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each source.")] = 8,
    self_source: Annotated[
        int | None,
        typer.Option(min=1, help="Without any source: rows of text that the base model writes; kept as a file."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a batch.")] = 4,
    curvature: Annotated[
        str, typer.Option(help="diagonal, kfac, tri-kfac, weight-kfac or weight-diagonal.")
    ] = "diagonal",
    fisher: Annotated[
        str | None, typer.Option(help="sequence, token or batch; what suits the curvature unless given.")
    ] = None,
    factor_rank: Annotated[
        int | None, typer.Option(min=1, help="Most eigenvectors of a Kronecker factor; all unless given.")
    ] = None,
    factor_keep: Annotated[
        float | None, typer.Option(help="Share of a Kronecker factor's trace to keep at least; all unless given.")
    ] = None,
    prior: Annotated[str, typer.Option(help="Precision charged for besides the curvature: a number or auto.")] = "0",
    labels: Annotated[str, typer.Option(help="sampled or data.")] = "sampled",
    combine: Annotated[str, typer.Option(help="mean, sum or separate.")] = "mean",
    base: Annotated[
        bool,
        typer.Option("--base", help="Fit the model without an adapter, for every adapter on it; with a weight-… kind."),
    ] = False,
    dtype: Dtype = "auto",
    seed: Seed = 0,
) -> None:
    """Measure how much each adapter weight matters for what a model knows; write a Laplace.

    Over several GPUs: accelerate launch --num_processes N -m lalora fit …
    """
    from lalora.study.launched import join, leave
    from lalora.study.single import fit_laplace

    _refuse_what_excludes(base, rank, alpha, self_source, source)
    settings = {
        "rank": rank or 16,
        "alpha": alpha or 32,
        "target_modules": target_modules or "all-linear",
        "source_rows": rows,
        "source_batch_size": batch_size,
        "curvature": curvature,
        "fisher": fisher,
        "factor_rank": factor_rank,
        "factor_keep": factor_keep,
        "prior": prior if prior == "auto" else _number(prior),
        "labels": labels,
        "combine": combine,
        "seed": seed,
    }
    with resumable("nothing was written"):
        join(world_size())
        fit_laplace(model, dtype, places(source), settings, self_source, base, out, say)
        leave()
    say(f"wrote {out}; next: lalora train {model} --laplace {out}")


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
