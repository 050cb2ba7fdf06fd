"""What the command line prints while it works: its own words, not those of every library."""

import os
import sys
import warnings
from typing import Any

from rich.console import Console
from typer.core import TyperCommand


def say(message: str) -> None:
    """Print a line about what goes on."""
    print(message, file=sys.stderr, flush=True)


def in_bytes(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:,.1f} MiB"


def wide_console(columns: int) -> Console:
    """Make a console at least so wide: lines that wrap can still be read, columns that are cut or dropped cannot."""
    console = Console()
    console.width = max(console.width, columns)
    return console


class QuietCommand(TyperCommand):
    """A command that silences libraries once its words are known to be right: help needs none of them."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        quiet_libraries()
        return super().invoke(ctx)


def quiet_libraries() -> None:
    """Silence progress bars and advice that speak of the inside of lalora."""
    import datasets
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    # They tell developers what will change one day.
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
