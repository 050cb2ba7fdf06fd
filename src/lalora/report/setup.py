"""What a study is of, in one line under its headline: model, data, and how it was trained and scored."""

from collections.abc import Iterable, Mapping
from typing import Any

from lalora.report.settings import readable
from lalora.results.schema import Results

_OF_RUNS = {"steps": "steps", "batch_size": "batch", "learning_rate": "learning rate"}
_MOST = 3

ONE_SEED = (
    "One seed: another one can order the methods differently; differences are measured, but not how sure they are."
)


def setup(results: Results) -> list[tuple[str, str]]:
    """Returns names and values of what the recipe and the runs say; what neither says is left out."""
    bases = [_base(recipe) for recipe in _recipes(results.recipe)]
    seeds = sorted({run.seed for run in results.runs if run.seed is not None})
    found = [
        ("model", _joined(base.get("model") for base in bases)),
        ("target", _joined(name for base in bases for name in _names(base.get("target")))),
        ("sources", _joined((name for base in bases for name in _names(base.get("sources"))), most=6)),
        *((name, _of_runs(results, bases, key)) for key, name in _OF_RUNS.items()),
        ("seeds", "one seed" if len(seeds) == 1 else str(len(seeds) or "")),
        ("scored rows", counted(results.base.rows) or _joined(base.get("scored_rows") for base in bases)),
        ("rows for accuracy", counted(results.base.accuracy_rows)),
    ]
    return [(name, value) for name, value in found if value]


def counted(rows: Mapping[str, int]) -> str:
    """Returns of how many rows of each data set numbers are; the data sets of one count are told together."""
    alike: dict[int, list[str]] = {}
    for name, count in rows.items():
        alike.setdefault(count, []).append(name)
    return "; ".join(f"{count} {'each of' if len(of) > 1 else 'of'} {', '.join(of)}" for count, of in alike.items())


def caveats(results: Results) -> list[str]:
    """Returns the notes of a study, and that it has one seed where it is so."""
    return [*([ONE_SEED] if results.runs and results.seeds < 2 else []), *results.notes]


def _recipes(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the recipe, or those of the studies that were merged."""
    inner = [one for one in recipe.values() if isinstance(one, dict) and isinstance(one.get("base"), dict)]
    return inner if inner and not isinstance(recipe.get("base"), dict) else [recipe]


def _base(recipe: dict[str, Any]) -> dict[str, Any]:
    base = recipe.get("base")
    return base if isinstance(base, dict) else recipe


def _names(domains: Any) -> list[str]:
    if isinstance(domains, str):
        return [domains]
    return [str(name) for name in domains] if isinstance(domains, (dict, list)) else []


def _of_runs(results: Results, bases: list[dict[str, Any]], key: str) -> str:
    told = [run.settings[key] for run in results.runs if run.settings.get(key) is not None]
    return _joined(told or [base.get(key) for base in bases])


def _joined(values: Iterable[Any], most: int = _MOST) -> str:
    known = list(dict.fromkeys(readable(value) for value in values if isinstance(value, (str, int, float))))
    if len(known) > most:
        return f"{len(known)} values, {known[0]} first"
    return ", ".join(known)
