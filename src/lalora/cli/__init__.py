"""The `lalora` command."""

from lalora.cli.command import main

__all__ = ["main"]
