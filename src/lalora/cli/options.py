"""Options that several commands share."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lalora.errors import LaloraError, short

if TYPE_CHECKING:
    from lalora.domains import Place
    from lalora.domains.domain import Role

Model = Annotated[str, typer.Argument(help="smollm2-135m, a model folder, or an id on the Hugging Face hub.")]
Dtype = Annotated[str, typer.Option(help="Of the frozen weights: auto, float32 or bfloat16.")]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Sources = Annotated[
    list[str],
    typer.Option(
        "--source",
        help="NAME or NAME=PLACE, again for more; PLACE: embedded, hub, a hub id, a path, task:NAME, {…} as a recipe.",
    ),
]
Target = Annotated[str, typer.Option(help="NAME or NAME=PLACE of what is learned.")]
TargetModules = Annotated[
    list[str] | None, typer.Option(help="Name of a module to adapt, again for more (default all linear ones).")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn at random.")]

SOURCES = ["winogrande", "arc_challenge", "hellaswag"]


def places_by_role(
    source: Sequence[str], target: Sequence[str], held_out: Sequence[str]
) -> "dict[Role, dict[str, Place]]":
    """Read the options of each role; a name has one of them."""
    places([*source, *target, *held_out])
    return {"source": places(source), "target": places(target), "held-out": places(held_out)}


def evaluate_unseen(model: str, adapter: Path) -> str:
    """Write the command that measures an adapter on text of the user's own."""
    return f"{shlex.join(['lalora', 'evaluate', model, str(adapter)])} --source unseen=FILE"


def places(options: Sequence[str]) -> "dict[str, Place]":
    """Read `NAME` and `NAME=PLACE` options."""
    found: dict[str, Place] = {}
    for option in options:
        name, sign, place = option.partition("=")
        if name in found:
            raise LaloraError(f"'{name}' is given twice")
        if sign and not place:
            raise LaloraError(f"'{option}': the place after = is missing")
        found[name] = _place(option, place) if place.startswith("{") else place or "embedded"
    return found


def _place(option: str, written: str) -> "Place":
    from lalora.marked_yaml import parse_value
    from lalora.study.recipe.settings import described

    try:
        place: Place = described(parse_value(written))
    except ValueError as error:
        raise LaloraError(f"'{short(option)}': {error}") from error
    return place
