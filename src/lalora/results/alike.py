"""The rule of every average over runs: nothing but what it names may differ among them."""

import json
from collections.abc import Collection, Sequence

from lalora.errors import LaloraError
from lalora.results.schema import Run

SEED = frozenset({"seed"})


def alike(one: Run, other: Run, but: Collection[str] = SEED) -> bool:
    """Returns whether two runs are of one method and of the same settings, save those named in `but`."""
    return all(key in but for key, *_ in _differences(one, other))


def require_alike(runs: Sequence[Run], but: Collection[str] = SEED) -> None:
    """Refuses runs that must not be averaged: of other methods, or of a setting that is not named in `but`.

    Raises:
        LaloraError: two runs differ in another setting; the message names both, and the setting.
    """
    for run in runs[1:]:
        for key, ours, theirs in _differences(runs[0], run):
            if key not in but:
                raise LaloraError(
                    f"{runs[0].name} and {run.name} cannot be averaged: they differ in {key} ({_short(ours)} and "
                    f"{_short(theirs)}); runs of one label may differ in their seed alone"
                )


def _differences(one: Run, other: Run) -> list[tuple[str, object, object]]:
    # A setting that a run does not have is at its default, which results.json leaves out as null.
    keys = dict.fromkeys([*one.settings, *other.settings])
    pairs: list[tuple[str, object, object]] = [(key, one.settings.get(key), other.settings.get(key)) for key in keys]
    pairs.append(("method", one.method, other.method))
    return [pair for pair in pairs if pair[1] != pair[2]]


def _short(value: object) -> str:
    return f"{json.dumps(value, ensure_ascii=False, default=str):.60}"
