"""An entry of a grid, or the base of all runs: settings of a run, and options of its methods, as they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from lalora.complaint import complaint
from lalora.errors import LaloraError, short
from lalora.marked_yaml import Marked, Path
from lalora.methods.catalogue import METHODS, method_named, no_option
from lalora.methods.compatible import require_compatible
from lalora.study.recipe.chosen import Chosen, all_options, check_alone, choose, options_model, own_options
from lalora.study.recipe.settings import RunSettings

Key = tuple[str, ...]
"""Of a setting or an option: `("rank",)`, and `("kl", "strength")` where a run has several methods."""


@dataclass(frozen=True)
class Written:
    """A value, and where it stands in the document."""

    value: Any
    place: Path


@dataclass(frozen=True)
class Entry:
    """What is written for some runs.

    Attributes:
        place: Where it stands.
        methods: The methods' names, as they are written.
        methods_at: Where these stand.
        own: The rest of it, by key.
        common: What holds for all runs unless `own` says otherwise.
    """

    place: Path
    methods: tuple[str, ...]
    methods_at: Path
    own: Mapping[Key, Written]
    common: Mapping[Key, Written] = field(default_factory=dict)

    def over(self, base: Entry) -> Entry:
        """Fill in what holds for all runs; methods of its own stand in the place of theirs and of their options."""
        if not self.methods:
            return replace(self, methods=base.methods, methods_at=base.methods_at, common=base.own)
        return replace(self, common={key: written for key, written in base.own.items() if len(key) == 1})

    def choosing(self, values: Sequence[Any]) -> Entry:
        """Keep one value for each key of its own."""
        kept = zip(self.own.items(), values, strict=True)
        return replace(self, own={key: Written(value, written.place) for (key, written), value in kept})

    def method_of(self, key: Key) -> str | None:
        """Tell which method an option belongs to; None for a setting of the run."""
        if len(key) > 1:
            return key[0]
        return None if key[0] in RunSettings.model_fields else self.methods[0]

    def run_settings(self, seed: int, marks: Marked) -> RunSettings:
        """Check the settings of the run."""
        written = {key[0]: one for key, one in {**self.common, **self.own}.items() if self.method_of(key) is None}
        try:
            return RunSettings.model_validate({**{key: one.value for key, one in written.items()}, "seed": seed})
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            missing = Written(None, ("seeds",) if key == "seed" else ("base",))
            raise LaloraError(f"{marks.place(written.get(key, missing).place)}: {complaint(first)}") from error

    def choose(self, marks: Marked) -> tuple[Chosen, ...]:
        """Check the methods and their options."""
        try:
            require_compatible([method_named(name) for name in self.methods])
        except LaloraError as error:
            raise LaloraError(f"{marks.place(self.methods_at)}: {error}") from error
        return tuple(self._choose(name, marks) for name in self.methods)

    def _choose(self, name: str, marks: Marked) -> Chosen:
        kind = method_named(name)
        # What holds for all runs holds for those methods that know of it.
        written = {key[0]: one for key, one in self.common.items() if len(key) == 1 and key[0] in own_options(kind)} | {
            key[-1]: one
            for key, one in [*(item for item in self.common.items() if len(item[0]) > 1), *self.own.items()]
            if self.method_of(key) == name
        }
        for key, one in written.items():
            if key not in own_options(kind):
                raise LaloraError(f"{marks.place(one.place)}: {no_option(kind, key)}")
        try:
            return choose(name, {key: one.value for key, one in written.items()})
        except ValidationError as error:
            first = error.errors()[0]
            raise LaloraError(f"{marks.place(written[str(first['loc'][0])].place)}: {complaint(first)}") from error
        except LaloraError as error:
            raise LaloraError(f"{marks.place(self.place)}: {error}") from error


def read_base(base: Mapping[str, Any], marks: Marked) -> Entry:
    """Read what holds for all runs; options are checked whether a run looks at them or not."""
    entry = _read(base, ("base",), base.get("method"), marks)
    for name in entry.methods:
        try:
            method_named(name)
        except LaloraError as error:
            raise LaloraError(f"{marks.place(entry.methods_at)}: {error}") from error
    for key, written in entry.own.items():
        if key[0] not in RunSettings.model_fields:
            try:
                if len(key) == 1:
                    check_alone(key[0], written.value)
                else:
                    options_model(method_named(key[0])).model_validate({key[1]: written.value})
            except ValidationError as error:
                raise LaloraError(f"{marks.place(written.place)}: {complaint(error.errors()[0])}") from error
    return entry


def read_entry(entry: Mapping[str, Any], place: Path, base: Entry, marks: Marked) -> list[Entry]:
    """Read an entry of the grid; one each where `method` is a list."""
    names = entry.get("method")
    found = [_read(entry, place, name, marks).over(base) for name in (names if isinstance(names, list) else [names])]
    for one in found:
        if not one.methods:
            raise LaloraError(f"{marks.place(place)}: this entry of the grid has no 'method'")
        for key, written in one.own.items():
            if len(one.methods) > 1 and len(key) == 1 and key[0] in all_options():
                raise LaloraError(
                    f"{marks.place(written.place)}: '{key[0]}' is an option of a method: write it below its method's "
                    f"name, as in methods: [{{{one.methods[0]}: {{{key[0]}: …}}}}, …]"
                )
    return found


def _read(entry: Mapping[str, Any], place: Path, method: Any, marks: Marked) -> Entry:
    own: dict[Key, Written] = {
        (key,): Written(value, (*place, key)) for key, value in entry.items() if key not in ("method", "methods")
    }
    if "methods" not in entry:
        if "method" in entry and not isinstance(method, str):
            raise LaloraError(
                f"{marks.place((*place, 'method'))}: 'method' is {short(repr(method))}: input should be a valid string"
            )
        return Entry(place, (method,) if isinstance(method, str) else (), (*place, "method"), own)
    at = (*place, "methods")
    if "method" in entry:
        raise LaloraError(f"{marks.place(at)}: 'method' and 'methods' are both there: give one of them")
    if not isinstance(entry["methods"], list) or not entry["methods"]:
        raise LaloraError(f"{marks.place(at)}: 'methods' is no list of methods: write {_EXAMPLE}")
    names, of_methods = [], dict[Key, Written]()
    for index, item in enumerate(entry["methods"]):
        name, options = _method(item, (*at, index), marks)
        names.append(name)
        for key, value in options.items():
            # The only one of a run is what it would be in the short form.
            nested: Key = (key,) if len(entry["methods"]) == 1 and place[0] != "base" else (name, key)
            if nested in own:
                twice = f"'{key}' is there twice, below '{name}' and beside it"
                raise LaloraError(f"{marks.place((*at, index, name, key))}: {twice}")
            of_methods[nested] = Written(value, (*at, index, name, key))
    return Entry(place, tuple(names), at, {**of_methods, **own})


def _method(item: Any, place: Path, marks: Marked) -> tuple[str, Mapping[str, Any]]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        ((name, options),) = item.items()
        if isinstance(name, str) and (options is None or isinstance(options, dict)):
            for key in options or {}:
                if name in METHODS and key not in own_options(METHODS[name]):
                    raise LaloraError(f"{marks.place((*place, name, str(key)))}: {no_option(METHODS[name], str(key))}")
            return name, options or {}
    raise LaloraError(f"{marks.place(place)}: {short(repr(item))} is no method with its options: write {_EXAMPLE}")


_EXAMPLE = "methods: [{lalora: {strength: 30}}, {kl: {every: 4}}]"
