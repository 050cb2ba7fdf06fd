"""A recipe: the YAML that describes a study, checked before anything runs."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lalora.domains import TASK_FILES
from lalora.errors import LaloraError, one_line, short
from lalora.marked_yaml import Marked, Path, parse, parse_value
from lalora.results.criteria import Criteria
from lalora.results.published import Published, PublishedCost, PublishedValidation
from lalora.study.recipe.chosen import all_options
from lalora.study.recipe.plan import RunPlan, expand, validated
from lalora.study.recipe.settings import RunSettings, StudySettings

_OF_METHODS = {"method", "methods"}
_LARGEST = 1 << 18
_DEEPEST_EXTENDS = 8
BUILT_IN = FilePath(__file__).parents[2] / "recipes"


class Document(BaseModel):
    """A recipe as it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = Field("", description="What the study compares, in a sentence.")
    extends: str | None = Field(None, description="Another recipe, from whose base come the settings not given here.")
    notes: list[str] = Field(default_factory=list, description="What a reader of the results has to be told.")
    published: list[Published] = Field(
        default_factory=list, description="Numbers of a publication, shown beside what was measured."
    )
    published_validation: list[PublishedValidation] = Field(
        default_factory=list, description="The same of the validation rows by which settings are chosen."
    )
    published_costs: list[PublishedCost] = Field(default_factory=list, description="The same of times and memory.")
    base: dict[str, Any] = Field(description="Settings that hold for all runs.")
    grid: list[dict[str, Any]] = Field(
        description="What differs: each entry is a run, or several where it holds lists."
    )
    select: Criteria | None = Field(
        None, description="By what a setting of each method is chosen; needs validation_rows under base."
    )
    seeds: list[int] = Field([0], min_length=1, description="Every run is done once with each.")


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        name: Names the study and its default folder.
        description: What it compares.
        study: What all runs have in common.
        runs: The runs.
        select: By what a setting of each method is chosen, if at all.
        document: The recipe as written, after the overrides.
    """

    name: str
    description: str
    study: StudySettings
    runs: tuple[RunPlan, ...]
    select: Criteria | None
    document: dict[str, Any]


def built_in_recipes() -> dict[str, str]:
    """List the recipes that come with the package."""
    return {name: load_recipe(name).description for name in _names()}


def load_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe."""
    name = source if source in _names() else _find(source).stem
    marks = _read(source)
    for override in overrides:
        _override(marks, override)
    document = validated(Document, marks.value, (), marks)
    study, base = _split(document.base, marks)
    _refuse_study_keys(document.grid, marks)
    if not study.get("sources", True):
        raise LaloraError(f"{marks.place(('base', 'sources'))}: 'sources' is empty: name at least one domain to keep")
    runs = expand(base, document.grid, document.seeds, marks)
    checked = validated(StudySettings, study, ("base",), marks)
    _refuse_unknown_names(document, runs, checked, bool(overrides), marks)
    _refuse_softening_twice(runs, checked, marks)
    if document.select is not None:
        _refuse_choice_without_rows(document.select, checked, marks)
    return Recipe(name, document.description, checked, tuple(runs), document.select, marks.value)


def _refuse_unknown_names(
    document: Document, runs: Sequence[RunPlan], study: StudySettings, narrowed: bool, marks: Marked
) -> None:
    for named in (plan.settings.source_domains or () for plan in runs):
        if unknown := sorted(set(named) - set(study.sources)):
            place = marks.place(("base", "source_domains") if "source_domains" in document.base else ("grid",))
            raise LaloraError(f"{place}: source_domains names '{unknown[0]}', which is no source of this study")
    labels = {plan.label for plan in runs}
    told: dict[str, Sequence[Published | PublishedValidation | PublishedCost]] = {
        "published": document.published,
        "published_validation": document.published_validation,
        "published_costs": document.published_costs,
    }
    for key, index, run in (
        (key, index, one.run) for key, several in told.items() for index, one in enumerate(several)
    ):
        if run not in labels and not narrowed:
            place = marks.place((key, index, "run"))
            raise LaloraError(f"{place}: no run is called '{run}'; there are {', '.join(sorted(labels))}")


def _refuse_softening_twice(runs: Sequence[RunPlan], study: StudySettings, marks: Marked) -> None:
    changed = next((key for key in ("scales", "soften", "after") if getattr(study, key)), None)
    softened = next((plan for plan in runs if plan.settings.softens), None)
    if changed and softened:
        raise LaloraError(
            f"{marks.place(('base', changed))}: '{changed}' changes adapters as they were trained, and "
            f"'{softened.label}' is softened to its budget: give {changed} to a study without such runs, or set "
            "budget_by: control"
        )


def _refuse_choice_without_rows(select: Criteria, study: StudySettings, marks: Marked) -> None:
    place = marks.place(("select",))
    if study.validation_rows == 0:
        raise LaloraError(f"{place}: to choose settings takes rows that are not scored: set validation_rows under base")
    for metric, key in (("source_accuracy", "accuracy_rows"), ("target_accuracy", "target_accuracy_rows")):
        if metric in (select.learning, select.keeping) and getattr(study, key) == 0:
            raise LaloraError(f"{place}: to choose by {metric} takes accuracy: set {key} under base")


def _read(source: str, above: tuple[str, ...] = ()) -> Marked:
    path = _find(source)
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise LaloraError(f"{path}: {size:,} bytes are too many for a recipe, which has {_LARGEST:,} at most")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LaloraError(f"{path}: cannot be read: {one_line(error)}") from error
    marks = parse(text, path.name if source in _names() else source)
    if not isinstance(marks.value, dict):
        raise LaloraError(f"{marks.place(())}: a recipe is a mapping with the keys base and grid")
    if source not in _names():
        _from_the_recipe(marks.value.get("base"), path.parent)
    if marks.value.get("extends") is None:
        return marks
    parent = _beside(str(marks.value["extends"]), path)
    if len(above) > _DEEPEST_EXTENDS:
        raise LaloraError(f"{marks.place(('extends',))}: more than {_DEEPEST_EXTENDS} recipes extend one another")
    if parent in (*above, source):
        raise LaloraError(f"{marks.place(('extends',))}: '{parent}' extends itself")
    inherited, base = _read(parent, (*above, source)), marks.value.setdefault("base", {})
    notes = [note.get("notes", []) for note in (inherited.value, marks.value)]
    if all(isinstance(part, list) for part in notes):
        marks.value["notes"] = [*notes[0], *notes[1]]
    given = inherited.value.get("base")
    if isinstance(base, dict) and isinstance(given, dict):
        missing = {key for key in given if key not in base and not (key in _OF_METHODS and _OF_METHODS & base.keys())}
        base |= {key: given[key] for key in missing}
        marks.places |= {
            path: place
            for path, place in inherited.places.items()
            if path[:1] == ("base",) and path[1:2] and path[1] in missing
        }
    return marks


def _from_the_recipe(base: Any, folder: FilePath) -> None:
    # What lies beside a recipe is named as it lies there, from wherever the recipe is run.
    if not isinstance(base, dict):
        return
    for places in (base, *(base.get(key) for key in ("sources", "target", "held_out"))):
        if not isinstance(places, dict):
            continue
        for name, place in places.items():
            if places is not base and isinstance(place, dict):
                for key in ("path", "task"):
                    path = place.get(key)
                    is_name = key == "task" and not str(path).endswith(TASK_FILES)
                    if isinstance(path, str) and path and not is_name and (folder / path).exists():
                        place[key] = str(folder / path)
            is_place = places is not base or name == "model"
            if is_place and isinstance(place, str) and place and (folder / place).exists():
                places[name] = str(folder / place)


def _beside(parent: str, path: FilePath) -> str:
    # As an include is read everywhere: from where it is written.
    near = path.parent / parent
    return str(near) if parent not in _names() and near.is_file() else parent


def _names() -> list[str]:
    return sorted(str(path.relative_to(BUILT_IN).with_suffix("").as_posix()) for path in BUILT_IN.rglob("*.yaml"))


def _find(source: str) -> FilePath:
    if source in _names():
        return BUILT_IN / f"{source}.yaml"
    path = FilePath(source)
    if not source.isprintable():
        raise LaloraError(f"{source!r} is no name of a recipe: it holds control characters")
    if path.is_file():
        return path
    if path.exists():
        raise LaloraError(f"{source}: is no file that can be read as a recipe")
    if path.suffix in (".yaml", ".yml"):
        raise LaloraError(f"{source}: there is no such file")
    raise LaloraError(f"no recipe '{source}': built in are {', '.join(_names())}; or give the path of a YAML file")


def _override(marks: Marked, override: str) -> None:
    key, sign, text = override.partition("=")
    place = f"--set {short(override)}"
    if not sign or not key:
        raise LaloraError(f"{place}: write it as key=value")
    try:
        value = parse_value(text)
    except ValueError as error:
        raise LaloraError(f"{place}: not a YAML value ({error})") from error
    document = marks.value
    base, grid = document.get("base"), document.get("grid")
    if key == "extends":
        raise LaloraError(f"{place}: a recipe extends what it says itself; write another one")
    if key in Document.model_fields:
        document[key] = value
        marks.places[key,] = place
        return
    # Either stands for the other.
    alike = _OF_METHODS if key in _OF_METHODS else {key}
    entries: list[Any] = [index for index, entry in enumerate(grid) if alike & entry.keys()] if _is_grid(grid) else []
    for index in entries:
        for other in alike:
            grid[index].pop(other, None)
        grid[index][key] = value
        marks.places["grid", index, key] = place
    name, dot, option = key.partition(".")
    for path, options in _of_several(document) if _is_grid(grid) else ():
        wanted = option if dot and path[-1] == name else key
        if wanted in options:
            options[wanted] = value
            marks.places[(*path, wanted)] = place
            entries.append(path)
    if isinstance(base, dict) and (alike & base.keys() or not entries):
        for other in alike:
            base.pop(other, None)
        base[key] = value
        marks.places["base", key] = place


def _of_several(document: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Go through the options of methods that stand in a list."""
    places: list[tuple[Path, Any]] = [(("base",), document.get("base"))]
    places += [(("grid", index), entry) for index, entry in enumerate(document.get("grid") or [])]
    for path, entry in places:
        methods = entry.get("methods") if isinstance(entry, dict) else None
        for index, item in enumerate(methods if isinstance(methods, list) else []):
            for name, options in item.items() if isinstance(item, dict) else ():
                if isinstance(options, dict):
                    yield (*path, "methods", index, name), options


def _is_grid(grid: Any) -> bool:
    return isinstance(grid, list) and all(isinstance(entry, dict) for entry in grid)


def _split(base: Mapping[str, Any], marks: Marked) -> tuple[dict[str, Any], dict[str, Any]]:
    known = {*StudySettings.model_fields, *_of_runs()}
    for key in base:
        if key not in known:
            raise LaloraError(f"{marks.place(('base', key))}: unknown key '{key}'{_hint(key, known)}")
    study = {key: value for key, value in base.items() if key in StudySettings.model_fields}
    return study, {key: value for key, value in base.items() if key not in study}


def _of_runs() -> set[str]:
    return ({*RunSettings.model_fields, *all_options()} - {"seed"}) | _OF_METHODS


def _refuse_study_keys(grid: Sequence[Mapping[str, Any]], marks: Marked) -> None:
    known = _of_runs()
    for index, entry in enumerate(grid):
        for key in entry:
            place = marks.place(("grid", index, key))
            if key in StudySettings.model_fields:
                raise LaloraError(f"{place}: '{key}' is the same for all runs of a study: put it under base")
            if key not in known:
                raise LaloraError(f"{place}: unknown key '{key}'{_hint(key, known)}")


def _hint(key: str, known: set[str]) -> str:
    if key == "seed":
        return ": list the seeds at the top, as in seeds: [0, 1]"
    close = difflib.get_close_matches(str(key), sorted(known), n=1)
    return f": did you mean '{close[0]}'?" if close else f": there are {', '.join(sorted(known))}"
