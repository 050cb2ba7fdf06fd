"""`lalora evaluate`: what an adapter gained and what it cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lalora.cli.console import say, wide_console
from lalora.cli.interrupt import resumable
from lalora.cli.options import SOURCES, Dtype, Model, Sources, places_by_role

if TYPE_CHECKING:
    from lalora.study.single.evaluate import Evaluated


def evaluate(
    model: Model,
    adapter: Annotated[
        str, typer.Argument(help="Folder or hub id of a PEFT adapter of this model, or of a full fine-tuning.")
    ],
    source: Sources = SOURCES,
    target: Annotated[list[str] | None, typer.Option(help="NAME or NAME=PLACE of the target, if wanted.")] = None,
    held_out: Annotated[list[str] | None, typer.Option(help="NAME or NAME=PLACE of held-out text.")] = None,
    max_drift: Annotated[
        float | None,
        typer.Option(help="Most KL(base ‖ model) on the sources, nats per token; beyond it the exit status is 1."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each domain for loss and KL.")] = 48,
    accuracy_rows: Annotated[int, typer.Option(min=0, help="Rows of each domain for accuracy.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a generated answer.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a batch.")] = 8,
    dtype: Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers, if wanted.")] = None,
) -> None:
    """Measure what was fine-tuned against its base model: loss, KL(base ‖ model), accuracy."""
    from lalora.files import write_json
    from lalora.softening import require_budget
    from lalora.study.single.evaluate import evaluate_adapter
    from lalora.study.store.folder import require_writable

    if out is not None:
        require_writable(out)
    if max_drift is not None:
        require_budget("--max-drift", max_drift)
    domains = places_by_role(source, target or [], held_out or [])
    with resumable("nothing was written"):
        found = evaluate_adapter(
            model, dtype, adapter, domains, say,
            scored_rows=rows, accuracy_rows=accuracy_rows, target_accuracy_rows=accuracy_rows,
            max_new_tokens=max_new_tokens, batch_size=batch_size,
        )  # fmt: skip
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, found.document())
    wide_console(100).print(_table(found))
    print("losses and KL in nats per token; in brackets the 95 % interval over rows")
    for row in found.worst:
        print(f"drifted most: {row['kl']:.3f}, {row['domain']}: {row['text']}")
    if found.mean is not None:
        told = f"drift on the sources: {found.mean.mean:.4f} ({found.mean.low:.4f} to {found.mean.high:.4f})"
        if max_drift is None:
            print(told)
            return
        beyond = not found.mean.mean <= max_drift
        print(f"{told}: {'MORE than' if beyond else 'within'} --max-drift {max_drift:g}")
        raise typer.Exit(int(beyond))


def _table(found: "Evaluated") -> Table:
    before, after = found.before, found.after
    table = Table("domain", "rows", "tokens", "loss before", "after", "KL(base ‖ model)", box=None)
    has_accuracy = bool(after.get("accuracy"))
    for title in ("accuracy before", "after") if has_accuracy else ():
        table.add_column(title)
    for name, loss in after["loss"].items():
        drift, scores = found.drift.get(name), found.rows.get(name)
        cells = ["", ""] if scores is None else [str(len(scores.tokens)), f"{int(scores.tokens.sum()):,}"]
        cells += [f"{before['loss'][name]:.3f}", f"{loss:.3f}"]
        cells.append("" if drift is None else f"{drift.mean:.4f} ({drift.low:.4f} to {drift.high:.4f})")
        if has_accuracy:
            cells += [_percent(row.get("accuracy", {}).get(name)) for row in (before, after)]
        table.add_row(name, *cells)
    return table


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1%}"
