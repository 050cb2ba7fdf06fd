"""What the command line says while it works: its own words, not those of every library."""

import os
import signal
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand

_INTERRUPTED = 130


def say(message: str) -> None:
    """Tell the user what goes on.

    Args:
        message: A line.
    """
    print(message, file=sys.stderr, flush=True)


def wide_console(columns: int) -> Console:
    """Make a console for a table: lines that wrap can still be read, columns that are cut or dropped cannot.

    Args:
        columns: Least width, however narrow the terminal is.

    Returns:
        The console.
    """
    console = Console()
    console.width = max(console.width, columns)
    return console


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


class QuietCommand(TyperCommand):
    """A command that silences libraries once its words are known to be right: help needs none of them."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Args:
            ctx: What was parsed.

        Returns:
            What the command returns.
        """
        quiet_libraries()
        return super().invoke(ctx)


@contextmanager
def resumable(advice: str) -> Generator[None, None, None]:
    """End Ctrl-C with a line that says what is kept.

    Args:
        advice: What is kept and how to go on.

    Yields:
        Nothing.

    Raises:
        Exit: With status 130, after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        # Whoever presses it again wants no tidying up.
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
        say(f"\ninterrupted: {advice}")
        raise typer.Exit(_INTERRUPTED) from error
