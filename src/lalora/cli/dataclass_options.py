"""Options of a command from the fields of a dataclass: default, range and help stand there alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_args

import typer

from lalora.options import OneOf, options_of


def with_options_of(kind: type, *, but: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put the options of a dataclass into the signature of a command, in the place of its `**options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=_typed(option))
            for name, option in options_of(kind).items()
            if name not in but
        ]
        as_keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]

        def whole(**arguments: Any) -> None:
            command(**arguments)

        whole.__name__, whole.__doc__ = command.__name__, command.__doc__
        whole.__signature__ = signature.replace(parameters=[*as_keywords, *made])  # type: ignore[attr-defined]
        whole.__annotations__ = {one.name: one.annotation for one in [*own, *made]} | {"return": None}
        return whole

    return decorate


def _typed(option: Any) -> Any:
    # The dataclass checks ranges and words itself, in one line each.
    words = [", ".join(part.words) for part in get_args(option.annotation) if isinstance(part, OneOf)]
    doc = option.doc.replace("None:", "Default:")
    return Annotated[_plain(option.annotation), typer.Option(help=f"{doc} {''.join(words)}".strip())]


def _plain(annotation: Any) -> Any:
    first, *_ = get_args(annotation) or (annotation,)
    for kind in (int, float, str):
        if first == kind or kind in get_args(first) or any(kind in get_args(part) for part in get_args(first)):
            return kind | None if type(None) in get_args(first) else kind
    return first
