"""Settings of runs as readers need them: which tell runs apart, and how a value is written."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from lalora.results.schema import Results, Run


def varied(runs: Sequence[Run], first: str | None = None) -> list[str]:
    """Returns the settings that differ among runs, but for seeds and those that another one determines.

    Of two that determine each other `first` stays, else the strength, else the one that comes first.
    """
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.settings) if key != "seed"]
    values = {key: [in_json(run.settings.get(key)) for run in runs] for key in keys}
    differing = [key for key in keys if len(set(values[key])) > 1]
    # Those that separate most first: what comes after one that determines it adds nothing.
    differing.sort(key=lambda key: (key != first, -len(set(values[key])), key != "strength"))
    kept: list[str] = []
    for key in differing:
        if not any(_determines(values[other], values[key]) for other in kept):
            kept.append(key)
    return kept


def bound(runs: Sequence[Run], to: str) -> list[str]:
    """Returns the settings that differ among runs only as another one does, which determines them."""
    leading = [in_json(run.settings.get(to)) for run in runs]
    values = {
        key: [in_json(run.settings.get(key)) for run in runs]
        for key in dict.fromkeys(key for run in runs for key in run.settings)
        if key not in ("seed", to)
    }
    return [key for key, of in values.items() if len(set(of)) > 1 and _determines(leading, of)]


def choices(runs: Sequence[Run], key: str) -> dict[str, str]:
    """Returns the values of a setting in JSON with how they read, numbers by size and the rest as they come."""
    values: dict[str, Any] = {in_json(value): value for run in runs for value in [run.settings.get(key)]}
    if all(isinstance(value, (int, float)) for value in values.values()):
        values = dict(sorted(values.items(), key=lambda item: item[1]))
    return {written: readable(value) for written, value in values.items()}


def telling(results: Results, run: Run) -> dict[str, str]:
    """Returns the settings that tell a run from others of its method: what differs among them, and its knob."""
    alike = [other.settings for other in results.runs if other.method == run.method]
    knob = results.names_of(run.method).knob
    return {
        key: _text(value)
        for key, value in run.settings.items()
        if key == knob or (key != "seed" and any(other.get(key) != value for other in alike))
    }


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields nested settings as dotted names with their values as text."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        elif isinstance(value, str):
            yield name, value
        else:
            yield name, json.dumps(value, ensure_ascii=False, default=str)


def in_json(value: Any) -> str:
    """Returns a value as text that tells it from all others."""
    return json.dumps(value)


def _determines(one: list[str], other: list[str]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def readable(value: Any) -> str:
    """Returns a value as it reads in texts and tables."""
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, int) else _text(value)
