"""`lalora soften`: the front of what was trained, and the version of it that fits a budget."""

from pathlib import Path
from typing import Annotated

import typer

from lalora.cli.console import say, wide_console
from lalora.cli.interrupt import resumable
from lalora.cli.options import SOURCES, Dtype, Model, Seed, Sources, Target, evaluate_unseen, places_by_role
from lalora.errors import LaloraError

_TABLE_WIDTH = 120


def soften(
    model: Model,
    adapter: Annotated[
        str,
        typer.Argument(help="Folder of a PEFT LoRA adapter of this model, its hub id, or a fully fine-tuned model."),
    ],
    target: Target = "gsm8k",
    source: Sources = SOURCES,
    held_out: Annotated[list[str] | None, typer.Option(help="NAME or NAME=PLACE of text measured besides.")] = None,
    laplace: Annotated[
        str | None,
        typer.Option(help="A weight-kfac Laplace of the base (`lalora fit --base`), folder or hub id; fitted without."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Most measured KL(base ‖ model) on source text, nats per token.")
    ] = None,
    floor: Annotated[float | None, typer.Option(help="Most target loss to give up, nats per token.")] = None,
    strength: Annotated[float | None, typer.Option(min=0, help="λ; 1 unless a budget or a floor is given.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write; it must not exist.")] = Path("softened"),
    refine_steps: Annotated[
        int, typer.Option(min=0, help="Steps without labels on these rows before it is softened.")
    ] = 0,
    refine_rate: Annotated[
        float | None, typer.Option(min=0, help="Learning rate of these steps: that of the training (default 0.002).")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the target and of each source to fit on.")] = 32,
    scored_rows: Annotated[int, typer.Option(min=1, help="Other rows of each domain to measure on.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a batch.")] = 8,
    max_length: Annotated[int | None, typer.Option(min=1, help="Leave out target rows of more tokens.")] = None,
    dtype: Dtype = "auto",
    seed: Seed = 0,
) -> None:
    """Soften a trained adapter: all its trade-offs between learning and forgetting, without training."""
    from lalora.report import draw_front, front_table, sentences
    from lalora.softening import LEARNING_RATE
    from lalora.study.single.soften import Rows, Wish, soften_adapter
    from lalora.study.store.folder import require_absent, whole

    wish = Wish(budget, floor, strength)
    wish.check()
    if refine_steps and laplace is not None:
        raise LaloraError("--refine-steps read source rows, which a Laplace does not have: leave --laplace out")
    if refine_rate is not None and not refine_steps:
        raise LaloraError("--refine-rate is of steps before softening: give them with --refine-steps")
    require_absent(out)
    domains = places_by_role(source, [target], held_out or [])
    with resumable("nothing was written"):
        found = soften_adapter(
            model,
            adapter,
            dtype,
            domains,
            laplace,
            wish,
            Rows(
                rows,
                scored_rows,
                batch_size,
                max_length,
                seed,
                refine_steps,
                LEARNING_RATE if refine_rate is None else refine_rate,
            ),
            say,
        )
        with whole(out) as partial:
            found.save(partial)
            draw_front(found.document, partial)
    wide_console(_TABLE_WIDTH).print(front_table(found.document))
    print(" ".join(sentences(found.document)))
    print(f"\n{'adapter' if found.tokenizer is None else 'model'}: {out}\nreport: {out / 'report.html'}")
    if found.tokenizer is not None:
        print(f"next: load {out} as you load {adapter}")
        return
    # Not the rows above again: by these λ was chosen.
    print(f"next, on rows of your own that chose nothing: {evaluate_unseen(model, out)}")
