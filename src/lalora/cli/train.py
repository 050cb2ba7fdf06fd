"""`lalora train`: one fine-tuning of one's own model."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lalora.cli.console import say
from lalora.cli.interrupt import resumable
from lalora.cli.launcher import launch_command, world_size
from lalora.cli.options import SOURCES, Dtype, Model, Out, Seed, Target, TargetModules, evaluate_unseen, places
from lalora.errors import LaloraError


def train(
    model: Model,
    target: Target = "gsm8k",
    laplace: Annotated[
        str | None, typer.Option(help="What `lalora fit` wrote, a folder or a hub id; plain LoRA without.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="λ of the Laplace: nats of target loss per nat of drift (default: measured for its curvature)."
        ),
    ] = None,
    out: Out = Path("adapter"),
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a forward pass of each process.")] = 4,
    accumulation: Annotated[int, typer.Option(min=1, help="Forward passes a step.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="Peak of AdamW.")] = 5e-4,
    schedule: Annotated[str, typer.Option(help="constant, linear or cosine.")] = "linear",
    max_length: Annotated[int | None, typer.Option(min=1, help="Leave out rows of more tokens.")] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="LoRA rank (default 16); a Laplace of an adapter brings its own.")
    ] = None,
    alpha: Annotated[
        int | None, typer.Option(min=1, help="LoRA alpha (default 32); a Laplace of an adapter brings its own.")
    ] = None,
    target_modules: TargetModules = None,
    scored_rows: Annotated[int, typer.Option(min=1, help="Target rows to measure the loss on.")] = 48,
    dtype: Dtype = "auto",
    budget: Annotated[
        float | None,
        typer.Option(help="Most KL(base ‖ model) on source text that the adapter may end with, nats per token."),
    ] = None,
    budget_by: Annotated[
        str, typer.Option(help="softening after training, control of the Laplace's strength while training, or both.")
    ] = "softening",
    source: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=PLACE of what a budget keeps, and drift is measured on (repeatable)."),
    ] = None,
    source_rows: Annotated[int, typer.Option(min=1, help="Rows of each source to soften by.")] = 32,
    seed: Seed = 0,
) -> None:
    """Fine-tune a model, with a Laplace's penalty and a budget of drift, or without; goes on where it was stopped.

    Over several GPUs: accelerate launch --num_processes N -m lalora train …
    """
    from lalora.study.single.distributed import join, leave
    from lalora.study.single.train import train_adapter
    from lalora.study.store.finished import METRICS

    settings = {
        "method": "lalora" if laplace else "lora",
        "steps": steps,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "rank": rank or 16,
        "alpha": alpha or 32,
        "target_modules": target_modules or "all-linear",
        "seed": seed,
        **_weight(strength, laplace),
        **_budget(budget, budget_by, source_rows, laplace),
    }
    study = {
        "model": model,
        "dtype": dtype,
        "sources": places(source or (SOURCES if budget is not None else [])),
        "target": places([target]),
        "max_length": max_length,
        "scored_rows": scored_rows,
    }
    command = shlex.join([*launch_command(), *sys.argv[1:]])
    with resumable(f"checkpoints are kept in {out}; to go on: {command}"):
        join(world_size())
        asked = {"r": rank, "lora_alpha": alpha, "target_modules": target_modules}
        found = train_adapter(study, settings, laplace, out, say, asked)
        leave()
    losses = (row["target_loss"] for row in (found.before, found.after))
    print("learned: target loss {:.3f} -> {:.3f} nats per token".format(*losses))
    print(_forgotten(found.after))
    if found.softened is not None:
        print(_kept(found.softened, budget))
    print(f"adapter: {out}{_beside(out)}; details: {out / METRICS}")
    print(f"in Python: PeftModel.from_pretrained(base, {str(out)!r})")
    print(f"next, on rows of your own: {evaluate_unseen(model, out)}")


def _forgotten(row: Mapping[str, Any]) -> str:
    if "source_drift" not in row:
        return "forgotten: not measured, there is no source to measure on"
    drift = row["source_drift"]
    rows = " and ".join(
        f"{count['rows']:,} rows of {name} ({count['tokens']:,} tokens)" for name, count in row["measured"].items()
    )
    return (
        f"forgotten: KL(base ‖ model) {drift['mean']:.4f} nats per token "
        f"(95 % {drift['low']:.4f} to {drift['high']:.4f}) on {rows}"
    )


def _kept(softened: Mapping[str, Any], budget: float | None) -> str:
    return (
        f"budget: softened at λ = {softened['softening_strength']:.3g} from {softened['trained_drift']:.4f} to "
        f"{softened['drift']:.4f} nats per token, of {budget:g} allowed, on other rows of the sources"
    )


def _beside(out: Path) -> str:
    from lalora.training import TRAINED

    return f" (as it was trained: {out / TRAINED})" if (out / TRAINED).is_dir() else ""


def _weight(strength: float | None, laplace: str | None) -> dict[str, float]:
    if strength is None:
        return {}
    if laplace is None:
        raise LaloraError("--strength weighs a Laplace: give one with --laplace, or leave --strength out")
    return {"strength": strength}


def _budget(budget: float | None, by: str, source_rows: int, laplace: str | None) -> dict[str, Any]:
    if budget is not None:
        if by != "softening" and laplace is None:
            raise LaloraError(f"--budget-by {by}: control is of a penalty's strength; give one with --laplace")
        return {"budget": budget, "budget_by": by, "source_rows": source_rows}
    if by != "softening":
        raise LaloraError("--budget-by tells how a budget is kept: give one with --budget, or leave --budget-by out")
    return {}
