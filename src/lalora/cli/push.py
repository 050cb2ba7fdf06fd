"""`lalora push`: a Laplace or an adapter on the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from lalora.cli.console import say
from lalora.cli.interrupt import resumable


def push(
    folder: Annotated[Path, typer.Argument(help="What `lalora fit`, `train` or `soften` wrote.")],
    repository: Annotated[str, typer.Argument(help="Id on the Hugging Face hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private if it is new.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="The hub's name of the licence, such as apache-2.0; none without.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Id of the base model on the hub, where it was loaded from a folder.")
    ] = None,
    max_share: Annotated[
        float | None,
        typer.Option(
            help="Most bytes of a Laplace over those of the layers' weights (default 0.15 if of a base, else all)."
        ),
    ] = None,
) -> None:
    """Publish a Laplace or an adapter on the Hugging Face hub, with a card."""
    from lalora.study.single.push import push_folder

    with resumable("run the same command again"):
        address = push_folder(folder, repository, private, licence, base_model, max_share, say)
    print(f"pushed to {address}")
