"""`lalora evaluate`: what an adapter gained and what it cost."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lalora.cli.console import say
from lalora.cli.interrupt import resumable
from lalora.cli.options import SOURCES, Dtype, Model, Sources, places


def evaluate(
    model: Model,
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT adapter of this model.")],
    source: Sources = SOURCES,
    target: Annotated[list[str] | None, typer.Option(help="NAME or NAME=PLACE of the target, if wanted.")] = None,
    held_out: Annotated[list[str] | None, typer.Option(help="NAME or NAME=PLACE of held-out text.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each domain for loss and KL.")] = 48,
    accuracy_rows: Annotated[int, typer.Option(min=0, help="Rows of each domain for accuracy.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a generated answer.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a batch.")] = 8,
    dtype: Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers, if wanted.")] = None,
) -> None:
    """Measure an adapter against its base model: loss, KL(base ‖ model), accuracy."""
    from lalora.domains.domain import Role
    from lalora.files import write_json
    from lalora.study.single.evaluate import evaluate_adapter
    from lalora.study.store.folder import require_writable

    if out is not None:
        require_writable(out)
    places([*source, *(target or []), *(held_out or [])])  # a name has one role
    domains: dict[Role, dict[str, str]] = {
        "source": places(source),
        "target": places(target or []),
        "held-out": places(held_out or []),
    }
    with resumable("nothing was written"):
        base, tuned = evaluate_adapter(
            model, dtype, adapter, domains, say,
            scored_rows=rows, accuracy_rows=accuracy_rows, target_accuracy_rows=accuracy_rows,
            max_new_tokens=max_new_tokens, batch_size=batch_size,
        )  # fmt: skip
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, {"base": base, "adapter": tuned})
    table = Table("domain", "loss before", "after", "KL(base ‖ model)", "accuracy before", "after", box=None)
    for name, loss in tuned["loss"].items():
        accuracies = [_percent(row.get("accuracy", {}).get(name)) for row in (base, tuned)]
        drift = tuned["kl"].get(name)
        numbers = [f"{base['loss'][name]:.3f}", f"{loss:.3f}", "" if drift is None else f"{drift:.3f}"]
        table.add_row(name, *numbers, *accuracies)
    Console().print(table)
    print("losses and KL in nats per token")


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1%}"
