"""`lalora methods`: every way to fine-tune that a recipe can name."""

from rich.console import Console
from rich.table import Table


def methods() -> None:
    """List the methods, what they need, and the setting that trades learning against forgetting."""
    from lalora.methods import METHODS

    table = Table(
        "method", "in tables", "knob and values to begin with", "needs besides LoRA", "8/4-bit base", "source", box=None
    )
    for method in METHODS.values():
        values = ", ".join(f"{value:g}" for value in method.grid)
        bits = "yes" if method.quantised_base else "no"
        table.add_row(method.name, method.label, f"{method.knob}: {values}", method.needs or "–", bits, method.citation)
    Console().print(table)
