"""The results as a table for the terminal."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lalora.report import numbers
from lalora.report.schema import parse
from lalora.report.summary import Row, rows

HEADERS = (
    "target\nloss",
    "source\nloss",
    "\nrise",
    "KL\nsource",
    "KL\nheld-out",
    "source\nacc.",
    "target\nacc.",
    "forgetting\nremoved",
    "gain\nkept",
    "s per\nstep",
)


def terminal_table(results: dict[str, Any]) -> Table:
    """Returns the base model and every run, a row each; at most 100 columns wide, nats per token.

    Raises:
        LaloraError: the results have another format or lack a field.
    """
    study = parse(results)
    table = Table(box=box.SIMPLE_HEAD, title=Text(study.name), padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.caption = Text(
        "Losses and KL(base ‖ model) in nats per token. Forgetting removed: by KL on source text, "
        "against plain LoRA of the same seed."
    )
    table.add_column("\nrun", max_width=22, overflow="fold")
    for header in HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows(study):
        table.add_row(Text(row.label), *cells(row), style="dim" if not row.method else None)
    return table


def cells(row: Row) -> list[str]:
    """Returns the numbers of a row as text, in the order of the columns."""
    return [
        numbers.nats(row.target_loss),
        numbers.nats(row.source_loss),
        numbers.change(row.source_rise),
        numbers.nats(row.source_kl),
        numbers.nats(row.heldout_kl),
        numbers.accuracy(row.source_accuracy),
        numbers.accuracy(row.target_accuracy),
        numbers.percent(row.forgetting_removed),
        numbers.percent(row.gain_kept),
        numbers.seconds(row.step_seconds),
    ]
