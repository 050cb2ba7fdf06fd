"""The command line's commands, put together."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lalora.cli.assets import assets
from lalora.cli.check import check
from lalora.cli.console import QuietCommand
from lalora.cli.evaluate import evaluate
from lalora.cli.fit import fit, fit_command
from lalora.cli.interrupt import resumable
from lalora.cli.launcher import check_command, check_environment
from lalora.cli.methods import methods
from lalora.cli.push import push
from lalora.cli.report import report
from lalora.cli.run import run
from lalora.cli.soften import soften
from lalora.cli.train import train
from lalora.version import __version__


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        check_environment()
        # Commands that keep something say so themselves.
        with resumable("run the same command again"):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # The list of commands shows its sentence alone; its options come from the library, which is slow to import.
        return ("fit", fit_command(), args[1:]) if args[:1] == ["fit"] else super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Fine-tune language models with LoRA and keep what they already know.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(cls=QuietCommand)(run)
app.command("fit", help=fit.__doc__)(lambda: None)
for command in (train, evaluate, check, soften, push, report, methods):
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
    check_command(context.invoked_subcommand)
