"""Options of a dataclass: default, range and meaning stand in the annotation of its field, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Doc

from lalora.errors import LaloraError, short

_SHOULD = "Input should"


@dataclass(frozen=True)
class OneOf:
    """The words that a text may be."""

    words: Sequence[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Name the words to editors."""
        return {**handler(schema), "enum": list(self.words)}

    def _check(self, text: str | None) -> str | None:
        if text is not None and text not in self.words:
            raise ValueError(f"is unknown: choose {' or '.join(self.words)}")
        return text


def at_most(limit: float, reason: str) -> AfterValidator:
    """Bound a number and say why no larger one means anything."""

    def check(value: Any) -> Any:
        if isinstance(value, int | float) and value > limit:
            raise ValueError(f"it can be {limit:g} at most: {reason}")
        return value

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1), at_most(10**9, "no machine goes through more")]
Rank = Annotated[int, Field(ge=1), at_most(2**16, "no layer of a language model is wider")]
Seed = Annotated[int, Field(ge=0), at_most(2**64 - 1, "random generators take 64 bits")]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), at_most(3e38, "float32 holds no larger number")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
BelowOne = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class Option:
    """What the annotation of a field says of it."""

    annotation: Any
    default: Any
    doc: str


def options_of(kind: Any) -> dict[str, Option]:
    """List the options of a dataclass by name; those of a dataclass that it holds stand among its own."""
    return dict(_options_of(kind))


@cache
def _options_of(kind: Any) -> dict[str, Option]:
    found: dict[str, Option] = {}
    hints = _hints(kind)
    for field in fields(kind):
        hint: Any = hints[field.name]
        if is_dataclass(hint):
            found |= options_of(hint)
        elif docs := [part.documentation for part in getattr(hint, "__metadata__", ()) if isinstance(part, Doc)]:
            # The last one is of the field itself, the others of a type that it shares.
            default = ... if field.default is MISSING else field.default
            found[field.name] = Option(hint, default, docs[-1])
    return found


def values_of(options: Any) -> dict[str, Any]:
    """Read the options of a dataclass as `options_of` names them."""
    found: dict[str, Any] = {}
    kind: Any = type(options)
    hints = _hints(kind)
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(hints[field.name]):
            found |= values_of(value)
        elif field.name in options_of(kind):
            found[field.name] = value
    return found


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def check(options: Any) -> None:
    """Refuse a dataclass of which a field is not what its annotation says; the first one is named.

    Raises:
        LaloraError: If a value has another type or is out of range.
    """
    kind: Any = type(options)
    for name, adapter in _adapters(kind).items():
        value = getattr(options, name)
        # Whole numbers of numpy are as good as Python's.
        plain = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value
        try:
            object.__setattr__(options, name, adapter.validate_python(plain, strict=True))
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            shown = _shown(value)
            if message.startswith(_SHOULD):
                raise LaloraError(f"{name} must{message.removeprefix(_SHOULD)}, not {shown}") from error
            joint = " " if message.startswith("is ") else ": "
            raise LaloraError(f"{name}={shown}{joint}{message}") from error


def _shown(value: object) -> str:
    try:
        return short(" ".join(repr(value).split()))
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too long to print"


@cache
def _adapters(kind: Any) -> dict[str, TypeAdapter[Any]]:
    hints = _hints(kind)
    # What has no range, such as a Laplace that is given, checks itself.
    return {
        field.name: TypeAdapter(hints[field.name])
        for field in fields(kind)
        if getattr(hints[field.name], "__metadata__", ())
    }
