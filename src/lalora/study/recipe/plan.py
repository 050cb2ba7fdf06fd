"""A grid of settings becomes a list of runs."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from lalora.complaint import complaint
from lalora.errors import LaloraError
from lalora.marked_yaml import Marked, Path
from lalora.methods import InTurn
from lalora.study.recipe.chosen import Chosen
from lalora.study.recipe.grid_entry import Entry, Key, read_base, read_entry
from lalora.study.recipe.settings import OF_BUDGET, OF_SOURCES, SELF_SOURCE, RunSettings

_MOST_RUNS = 10_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class RunPlan:
    """One fine-tuning that a study wants.

    Attributes:
        name: Names its folder; tells it from the other runs of the study.
        label: Names it in tables and plots; the same for all seeds.
        settings: Everything about it that may differ from other runs, besides its methods.
        methods: What acts in it, as written, with their options.
    """

    name: str
    label: str
    settings: RunSettings
    methods: tuple[Chosen, ...]

    @property
    def method(self) -> str:
        """Its methods by name, such as `lalora` or `lalora+kl`."""
        return "+".join(one.name for one in self.methods)

    @property
    def start(self) -> dict[str, Any] | None:
        """The method that chooses where the run starts, with all that it looks at; None for plain LoRA's start."""
        chosen = next((one for one in self.methods if one.kind.own_start), None)
        if chosen is None:
            return None
        seen = self.settings.model_dump(mode="json", include=set(OF_SOURCES)) if chosen.kind.needs_source else {}
        return {"method": chosen.name, **chosen.options, **seen}

    @property
    def own_start(self) -> bool:
        """Whether it starts from another adapter than plain LoRA does."""
        return self.start is not None

    def build(self) -> InTurn:
        """Make its methods, none of them prepared."""
        return InTurn([one.build(self.settings.seed) for one in self.methods])

    @property
    def effective(self) -> dict[str, Any]:
        """The settings that its methods look at, in JSON types; of several methods as `kl.strength`."""
        unused = set(_unused(self.settings, self.methods))
        # As if there were no such keys: a run on the given text of all sources is the run it always was.
        if self.settings.source_text == "source":
            unused |= {"source_text", *SELF_SOURCE}
        if self.settings.source_domains is None:
            unused.add("source_domains")
        if self.settings.budget is None:
            unused.add("budget")
        if self.settings.init == "kaiming":
            unused.add("init")
        return {
            "method": self.method,
            **self.settings.model_dump(mode="json", exclude=unused),
            **{key: value for one in self.methods for key, value in self._named(one).items()},
        }

    def _named(self, one: Chosen) -> dict[str, Any]:
        first = "" if len(self.methods) == 1 else f"{one.name}."
        return {f"{first}{key}": value for key, value in one.options.items()}


def expand(
    base: Mapping[str, Any], grid: Sequence[Mapping[str, Any]], seeds: Sequence[int], marks: Marked
) -> list[RunPlan]:
    """Write out the runs of a grid: the seeds of one setting side by side, a repeated run once.

    A list in a grid entry stands for one run each of its items; several lists for all combinations.
    """
    common = read_base(base, marks)
    entries = [one for index, entry in enumerate(grid) for one in read_entry(entry, ("grid", index), common, marks)]
    count = len(seeds) * sum(math.prod(len(choices) for choices in _choices(entry)) for entry in entries)
    if count > _MOST_RUNS:
        raise LaloraError(f"{marks.place(('grid',))}: the grid has {count:,} runs; a study has {_MOST_RUNS:,} at most")
    plans: dict[str, RunPlan] = {}
    for entry in entries:
        for chosen in _combinations(entry):
            for seed in seeds:
                plan = _plan(chosen, seed, marks)
                if len(plan.name.encode()) > _LONGEST_NAME:
                    raise LaloraError(
                        f"{marks.place(entry.place)}: this run's folder would have a name of "
                        f"{len(plan.name.encode())} bytes, and file systems take {_LONGEST_NAME}: put what is the same "
                        "for all runs under base"
                    )
                plans[plan.name] = plan
    if not plans:
        raise LaloraError(f"{marks.place(('grid',))}: the grid has no runs: give at least one entry and no empty list")
    return list(plans.values())


def single(name: str, label: str, values: Mapping[str, Any], marks: Marked) -> RunPlan:
    """Check the settings of a run that no recipe describes, its `method` and seed among them."""
    of_run = {key: value for key, value in values.items() if key != "seed"}
    (entry,) = read_entry(of_run, (), Entry((), (), (), {}), marks)
    return RunPlan(name, label, entry.run_settings(values.get("seed", 0), marks), entry.choose(marks))


def validated(kind: type[BaseModel], values: Mapping[str, Any], path: Path, marks: Marked) -> Any:
    """Check settings and tell a mistake by its place."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        location = first["loc"]
        raise LaloraError(f"{marks.place((*path, *location))}: {complaint(first)}") from error


def _combinations(entry: Entry) -> list[Entry]:
    return [entry.choosing(values) for values in itertools.product(*_choices(entry))]


def _choices(entry: Entry) -> list[list[Any]]:
    return [one.value if _is_choice(key[-1], one.value) else [one.value] for key, one in entry.own.items()]


def _is_choice(key: str, value: Any) -> bool:
    if key in ("target_modules", "source_domains"):
        return isinstance(value, list) and bool(value) and isinstance(value[0], list)
    return isinstance(value, list)


def _plan(entry: Entry, seed: int, marks: Marked) -> RunPlan:
    settings, methods = entry.run_settings(seed, marks), entry.choose(marks)
    unused = _unused(settings, methods)
    for key, written in entry.own.items():
        if key[0] in unused:
            name = "+".join(entry.methods)
            of = "a run without a budget" if key[0] in OF_BUDGET else f"method '{name}'"
            raise LaloraError(f"{marks.place(written.place)}: {of} has no '{key[0]}'")
    words = [f"{'.'.join(key)}-{_word(value)}" for key, value in _values(entry, settings, methods).items()]
    name = "-".join(["+".join(entry.methods), *words, f"seed-{seed}"])
    return RunPlan(name, _label(entry, settings, methods), settings, methods)


def _unused(settings: RunSettings, methods: Sequence[Chosen]) -> frozenset[str]:
    """Name the settings that change nothing in a run of these methods."""
    unused = frozenset() if settings.softens or any(one.kind.needs_source for one in methods) else OF_SOURCES
    # The rows of a budget are others than those that methods may see.
    unused = unused | OF_BUDGET if settings.budget is None else unused - {"source_rows"}
    # What starts elsewhere writes over A.
    return unused | ({"init"} if any(one.kind.own_start for one in methods) else set())


def _values(entry: Entry, settings: RunSettings, methods: Sequence[Chosen]) -> dict[Key, Any]:
    options = {one.name: one.options for one in methods}
    return {
        key: getattr(settings, key[0]) if (name := entry.method_of(key)) is None else options[name][key[-1]]
        for key in entry.own
    }


def _word(value: Any) -> str:
    text = "+".join(value) if isinstance(value, list) else f"{value!r}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+-]", "_", text.removesuffix(".0"))


def _label(entry: Entry, settings: RunSettings, methods: Sequence[Chosen]) -> str:
    values = _values(entry, settings, methods)
    if len(methods) == 1:
        return _label_of(methods[0], values)
    of_each = [_label_of(one, {key: v for key, v in values.items() if key[0] == one.name}) for one in methods]
    of_run = [f"{key[0]}={_word(value)}" for key, value in values.items() if len(key) == 1]
    return " ".join([" + ".join(of_each), *of_run])


def _short(number: float) -> str:
    """Write a number in six digits, or in as many as tell it from all others."""
    short = f"{number:g}"
    return short if repr(float(short)) == repr(float(number)) else repr(number)


def _label_of(method: Chosen, values: Mapping[Key, Any]) -> str:
    words, told = [method.kind.label], {"strength", "curvature"}
    # Without a prior is how it usually is.
    told |= {"prior"} if method.options.get("prior") == 0 else set()
    words += [str(value) for key, value in values.items() if key[-1] == "curvature"]
    if "strength" in method.options:
        words.append(f"λ={_short(method.options['strength'])}")
    return " ".join([*words, *(f"{key[-1]}={_word(value)}" for key, value in values.items() if key[-1] not in told)])
