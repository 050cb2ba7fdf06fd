"""The command line's commands, put together."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lalora.cli.assets import assets
from lalora.cli.console import QuietCommand
from lalora.cli.evaluate import evaluate
from lalora.cli.fit import fit
from lalora.cli.interrupt import resumable
from lalora.cli.launcher import check_command, check_environment
from lalora.cli.methods import methods
from lalora.cli.report import report
from lalora.cli.run import run
from lalora.cli.soften import soften
from lalora.cli.train import train
from lalora.version import __version__


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        # Commands that keep something say so themselves.
        with resumable("run the same command again"):
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    help="Fine-tune language models with LoRA and keep what they already know.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (run, fit, train, evaluate, soften, report, methods):
    app.command(cls=QuietCommand)(command)
app.add_typer(assets, name="assets")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lalora {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    check_environment()
    check_command(context.invoked_subcommand)
