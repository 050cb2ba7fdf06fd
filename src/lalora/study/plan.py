"""A grid of settings becomes a list of runs."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from lalora.domains.prompts import short
from lalora.errors import LaloraError
from lalora.study.knobs import METHOD_KNOBS, SELF_SOURCE, knobs, label
from lalora.study.marked_yaml import Marked, Path
from lalora.study.settings import RunSettings

_MOST_RUNS = 10_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class RunPlan:
    """One fine-tuning that a study wants.

    Attributes:
        name: Names its folder; tells it from the other runs of the study.
        label: Names it in tables and plots; the same for all seeds.
        settings: Everything about it that may differ from other runs.
    """

    name: str
    label: str
    settings: RunSettings

    @property
    def effective(self) -> dict[str, Any]:
        """The settings that its method looks at, in JSON types."""
        unused = set(METHOD_KNOBS - knobs(self.settings.method))
        # As if there were no such keys: a run on the given text of all sources is the run it always was.
        if self.settings.proxy_text == "source":
            unused |= {"proxy_text", *SELF_SOURCE}
        if self.settings.proxy_sources is None:
            unused.add("proxy_sources")
        return self.settings.model_dump(mode="json", exclude=unused)


def expand(
    base: Mapping[str, Any], grid: Sequence[Mapping[str, Any]], seeds: Sequence[int], marks: Marked
) -> list[RunPlan]:
    """Write out the runs of a grid.

    A list in a grid entry stands for one run each of its items; several lists for all combinations.

    Args:
        base: Settings that hold for every run unless its entry says otherwise.
        grid: Entries, each with at least a `method`.
        seeds: Every run is done once with each.
        marks: Where everything was written.

    Returns:
        The runs, entry by entry, the seeds of one setting side by side; a repeated run once.

    Raises:
        LaloraError: If a setting is unknown, of the wrong type or out of range, or nothing is left to run.
    """
    count = len(seeds) * sum(math.prod(len(choices) for choices in _choices(entry)) for entry in grid)
    if count > _MOST_RUNS:
        raise LaloraError(f"{marks.place(('grid',))}: the grid has {count:,} runs; a study has {_MOST_RUNS:,} at most")
    plans: dict[str, RunPlan] = {}
    for index, entry in enumerate(grid):
        for chosen in _combinations(entry):
            for seed in seeds:
                settings = _settings(base, chosen, seed, index, marks)
                name = "-".join([settings.method, *_words(chosen, settings), f"seed-{seed}"])
                if len(name.encode()) > _LONGEST_NAME:
                    raise LaloraError(
                        f"{marks.place(('grid', index))}: this run's folder would have a name of {len(name.encode())} "
                        f"bytes, and file systems take {_LONGEST_NAME}: put what is the same for all runs under base"
                    )
                plans[name] = RunPlan(name, _label(chosen, settings), settings)
    if not plans:
        raise LaloraError(f"{marks.place(('grid',))}: the grid has no runs: give at least one entry and no empty list")
    return list(plans.values())


def validated(kind: type[BaseModel], values: Mapping[str, Any], path: Path, marks: Marked) -> Any:
    """Check settings and tell a mistake by its place.

    Args:
        kind: The pydantic model to make.
        values: Keys and values.
        path: Where the keys stand in the document.
        marks: Where everything was written.

    Returns:
        The model.

    Raises:
        LaloraError: If a key is unknown or missing or a value does not fit.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        location = first["loc"]
        raise LaloraError(f"{marks.place((*path, *location))}: {complaint(first)}") from error


def complaint(error: Mapping[str, Any]) -> str:
    """Put a pydantic error in one line.

    Args:
        error: One of `ValidationError.errors()`.

    Returns:
        What is wrong with which key.
    """
    if not error["loc"]:  # of settings that do not go together
        return str(error["ctx"]["error"])
    # A union's members are told by names of pydantic's own, such as `constrained-float`.
    key = ".".join(str(part) for part in error["loc"] if not re.search(r"[^\w]", str(part)))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if error["type"] == "missing":
        return f"'{key}' is missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"'{key}' is {short(repr(error['input']))}: {message.removeprefix('value error, ')}"


def _combinations(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(entry, values, strict=True)) for values in itertools.product(*_choices(entry))]


def _choices(entry: Mapping[str, Any]) -> list[list[Any]]:
    return [value if _is_choice(key, value) else [value] for key, value in entry.items()]


def _is_choice(key: str, value: Any) -> bool:
    if key in ("target_modules", "proxy_sources"):
        return isinstance(value, list) and bool(value) and isinstance(value[0], list)
    return isinstance(value, list)


def _settings(base: Mapping[str, Any], chosen: Mapping[str, Any], seed: int, index: int, marks: Marked) -> RunSettings:
    place = ("grid", index)
    if "method" not in {**base, **chosen}:
        raise LaloraError(f"{marks.place(place)}: this entry of the grid has no 'method'")
    merged = {**base, **chosen, "seed": seed}
    try:
        settings = RunSettings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise LaloraError(f"{marks.place(place)}: {complaint(first)}") from error
        key = first["loc"][0]
        root: Path = ("seeds",) if key == "seed" else (*place, key) if key in chosen else ("base", key)
        raise LaloraError(f"{marks.place(root)}: {complaint(first)}") from error
    try:
        unused = (METHOD_KNOBS - knobs(settings.method)) & set(chosen)
    except LaloraError as error:
        where = (*place, "method") if "method" in chosen else ("base", "method")
        raise LaloraError(f"{marks.place(where)}: {error}") from error
    if unused:
        key = sorted(unused)[0]
        raise LaloraError(f"{marks.place((*place, key))}: method '{settings.method}' has no '{key}'")
    return settings


def _words(chosen: Mapping[str, Any], settings: RunSettings) -> list[str]:
    return [f"{key}-{_word(getattr(settings, key))}" for key in chosen if key != "method"]


def _word(value: Any) -> str:
    text = "+".join(value) if isinstance(value, list) else f"{value!r}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+-]", "_", text.removesuffix(".0"))


def _label(chosen: Mapping[str, Any], settings: RunSettings) -> str:
    words = [label(settings.method)]
    if "curvature" in chosen:
        words.append(settings.curvature)
    if "strength" in knobs(settings.method):
        words.append(f"λ={settings.strength:g}")
    told = {"method", "strength", "curvature"}
    # Without a prior is how it usually is.
    told |= {"prior"} if settings.prior == 0 else set()
    return " ".join([*words, *(f"{key}={_word(getattr(settings, key))}" for key in chosen if key not in told)])
