"""Reads the results of a study from its folder."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lalora.errors import LaloraError, one_line
from lalora.files import parse_json, read_small
from lalora.results.schema import FORMAT, Results
from lalora.results.select import selection_of
from lalora.results.state import RESULTS, STATE, so_far

_LONGEST_TEXT = 20_000
Model = TypeVar("Model", bound=BaseModel)


def load_results(folder: Path) -> Results:
    """Returns what a study found so far: what `results.json` holds, or of an unfinished study the runs that are done.

    Raises:
        LaloraError: the file is missing, unreadable, not JSON, or of another format.
    """
    unfinished = (folder / STATE).exists()
    path = folder / (STATE if unfinished else RESULTS)
    try:
        content = parse_json(read_small(path))
    except FileNotFoundError as error:
        raise LaloraError(f"{path}: not found; give the folder that `lalora run` wrote") from error
    except OSError as error:
        raise LaloraError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LaloraError(
            f"{path}: not valid JSON ({one_line(error)}); run the study again to write it anew"
        ) from error
    if not isinstance(content, dict):
        raise LaloraError(f"{path}: holds no results (expected a JSON object); run the study again")
    if unfinished:
        content = so_far(folder, content)
    _require_plain(content, str(path))
    results = parse(content, where=str(path))
    _require_each_run_once(results, str(path))
    # By the rules of this version, also where an older one wrote the file.
    return results.model_copy(update={"selection": selection_of(results)})


def parse(results: dict[str, Any], where: str = "results") -> Results:
    """Returns results that were read or just measured with types, every field checked.

    Raises:
        LaloraError: a field is missing or of the wrong type, or the format is another one; `where` names the results.
    """
    found = None if isinstance(results.get("format"), bool) else results.get("format")
    if not isinstance(found, int) or found < FORMAT:
        raise LaloraError(
            f"{where}: written in an older format ({found}) than this lalora reads ({FORMAT}); run the study again"
        )
    if found > FORMAT:
        raise LaloraError(
            f"{where}: written in a newer format ({found}) than this lalora reads ({FORMAT}); update lalora"
        )
    return checked(Results, results, where)


def checked(kind: type[Model], fields: dict[str, Any], where: str) -> Model:
    """Returns fields as a model, or refuses them in one line that names the first that is wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise LaloraError(f"{where}: field '{field}': {first['msg']}; run the study again") from error


def _require_each_run_once(results: Results, where: str) -> None:
    seen: set[str] = set()
    for run in results.runs:
        if run.name in seen:
            raise LaloraError(f"{where}: holds two runs called {run.name}; rename or remove one of them")
        seen.add(run.name)


def _require_plain(value: Any, where: str) -> None:
    # What is said here goes to terminals and pictures.
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or not all(letter.isprintable() or letter in "\n\t" for letter in value):
            raise LaloraError(
                f"{where}: holds a text with control characters or of more than {_LONGEST_TEXT:,} characters, "
                f"{value!r:.60}; run the study again"
            )
    elif isinstance(value, dict):
        for key, inner in value.items():
            _require_plain(key, where)
            _require_plain(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner, where)
