"""`lalora methods`: every way to fine-tune that a recipe can name."""

from typing import TYPE_CHECKING

from rich.table import Table

from lalora.cli.console import wide_console

if TYPE_CHECKING:
    from lalora.methods.costs import Cost

_TABLE_WIDTH = 150


def methods() -> None:
    """List the methods, what they need and cost, and the setting that trades learning against forgetting."""
    from lalora.methods import METHODS
    from lalora.methods.costs import costs

    table = Table(
        "method", "in tables", "knob and values to begin with", "needs besides LoRA", "8/4-bit base", box=None
    )
    for header in ("ready", "step", "memory", "source"):
        table.add_column(header)
    for method in METHODS.values():
        values = ", ".join(f"{value:g}" for value in method.grid)
        measured = costs().get(method.name, [])
        table.add_row(
            method.name,
            method.label,
            f"{method.knob}: {values}",
            method.needs or "–",
            "yes" if method.quantised_base else "no",
            *(_cost_text(measured, field) for field in ("ready", "step", "memory")),
            method.citation,
        )
    wide_console(_TABLE_WIDTH).print(table)
    print(
        "ready: time before the first step and after the last, in steps of plain LoRA; step, memory: over plain LoRA. "
        "Measured on SmolLM2-135M, all linear layers, rank 16, on two CPU cores."
    )


def _cost_text(measured: list["Cost"], field: str) -> str:
    lines = []
    for cost in measured:
        value = cost.ready + cost.after if field == "ready" else getattr(cost, field)
        text = f"{value:.1f}" if field == "ready" else f"{value:.2f}×"
        lines.append(f"{text} {cost.curvature}" if cost.curvature else text)
    return "\n".join(lines) or "–"
