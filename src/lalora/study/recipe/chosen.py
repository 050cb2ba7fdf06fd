"""A method as a recipe chooses it: its name and the values of its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from lalora.methods import METHODS, Method
from lalora.methods.catalogue import method_named
from lalora.options import Option

_CONFIG = ConfigDict(extra="forbid", strict=True)
_SEED = "seed"
"""Of a method it is that of its run."""


@dataclass(frozen=True)
class Chosen:
    """A method of a run: its name and the value of every option, defaults written out."""

    name: str
    options: Mapping[str, Any]

    @property
    def kind(self) -> type[Method]:
        """Its class."""
        return METHODS[self.name]

    def build(self, seed: int) -> Method:
        """Make the method with the seed of its run."""
        return self.kind(**self.options, **({_SEED: seed} if _SEED in self.kind.options() else {}))


def choose(name: str, values: Mapping[str, Any]) -> Chosen:
    """Check the options of a method."""
    checked = options_model(method_named(name)).model_validate(dict(values)).model_dump()
    # Read back from the method, so that leaving out what goes without saying and writing it down are the same run.
    chosen = METHODS[name](**checked).chosen
    return Chosen(name, {key: value for key, value in chosen.items() if key != _SEED})


def own_options(kind: type[Method]) -> dict[str, Option]:
    """List the options that a recipe gives to a method."""
    return {name: option for name, option in kind.options().items() if name != _SEED}


def all_options() -> dict[str, list[Option]]:
    """List the options of all methods by name; several where methods mean different things by one."""
    found: dict[str, list[Option]] = {}
    for kind in METHODS.values():
        for name, option in own_options(kind).items():
            if all(known.annotation != option.annotation for known in found.setdefault(name, [])):
                found[name].append(option)
    return found


def check_alone(key: str, value: Any) -> None:
    """Refuse a value that no method takes for this option; pydantic's error says why the first one does not."""
    first, *others = (_alone(key, option) for option in all_options()[key])
    for kind in others:
        try:
            kind.model_validate({key: value})
        except ValueError:
            continue
        return
    first.model_validate({key: value})


def _alone(key: str, option: Option) -> type[BaseModel]:
    return create_model(key, __config__=_CONFIG, **{key: (option.annotation, ...)})  # type: ignore[call-overload, no-any-return]


def options_model(kind: type[Method]) -> type[BaseModel]:
    """Make the pydantic model of a method's options, as recipes and their JSON Schema read them."""
    hashed: Any = kind
    return _options_model(hashed)


@cache
def _options_model(kind: Any) -> type[BaseModel]:
    described = {
        name: (option.annotation, Field(option.default, description=option.doc))
        for name, option in own_options(kind).items()
    }
    return create_model(kind.name, __config__=_CONFIG, **described)  # type: ignore[call-overload, no-any-return]
