"""`lalora assets`: the embedded model and data sets."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lalora.cli.console import QuietCommand
from lalora.cli.interrupt import resumable

assets = typer.Typer(
    help="List, fetch and verify the embedded model and data sets.", no_args_is_help=True, rich_markup_mode=None
)
Names = Annotated[list[str] | None, typer.Argument(help="Which (default all).")]


@assets.command("list", cls=QuietCommand)
def list_assets() -> None:
    """List what can be fetched and what is there."""
    from lalora.assets import home, statuses

    table = Table("name", "state", "MB", "licence", "what", box=None)
    found = statuses()
    for status in found:
        asset = status.asset
        table.add_row(asset.name, status.state, f"{asset.size / 1e6:.0f}", asset.licence, asset.title)
    Console().print(table)
    # Below the table, each on a line of its own: a path that is wrapped cannot be copied.
    print()
    for status in found:
        if status.state == "ready":
            print(f"{status.asset.name}: {status.folder}")
    print(f"cache: {home()} (LALORA_HOME sets another)")


@assets.command("fetch", cls=QuietCommand)
def fetch_assets(names: Names = None) -> None:
    """Fetch what is missing."""
    from lalora.assets import fetch

    with resumable("what was fetched whole is kept; to go on, run the same command again"):
        for name in names or _all():
            print(f"{name}: {fetch(name)}")


@assets.command("verify", cls=QuietCommand)
def verify_assets(names: Names = None) -> None:
    """Compare what is there with its hashes."""
    from lalora.assets import verify

    for name in names or _all():
        verify(name)
        print(f"{name}: whole")


def _all() -> list[str]:
    from lalora.assets import statuses

    return [status.asset.name for status in statuses()]
