"""Several studies as one, so that their runs can be compared."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any, TypeVar

from lalora.errors import LaloraError
from lalora.results.alike import alike
from lalora.results.criteria import Criteria
from lalora.results.load import checked
from lalora.results.published import Published, PublishedCost, PublishedValidation
from lalora.results.schema import Evaluation, Results, Run
from lalora.results.select import select

_MEASURED = ("target_loss", "source_loss", "heldout_loss", "source_accuracy", "target_accuracy")
_OF_RUNS = (*_MEASURED, "source_kl", "heldout_kl")
# Another number of threads changes the last digits.
_SAME = 1e-3
Row = TypeVar("Row", Published, PublishedValidation, PublishedCost)


def merged(studies: Mapping[str, Results]) -> Results:
    """Returns the runs of several studies as those of one, with all that was published of them.

    A setting that several studies ran with the same result stands once; where they share a label otherwise, it says
    which study it is of. Settings are selected anew among all runs where the studies that select ask for the same.

    Raises:
        LaloraError: the studies measured their base models differently, on other rows or of other models.
    """
    (first, reference), *others = studies.items()
    for name, study in others:
        _require_same_base(first, reference, name, study)
    kept = _kept(studies)
    labels = [label for runs in kept.values() for label in {run.label for run in runs}]
    own = {name: {run.label for run in runs} for name, runs in kept.items()}

    def label_in(study: str, label: str) -> str:
        return f"{label} ({study})" if label in own[study] and labels.count(label) > 1 else label

    runs = [
        checked(Run, {**dict(run), "name": f"{name}/{run.name}", "label": label_in(name, run.label)}, name)
        for name, of in kept.items()
        for run in of
    ]
    changed = {
        "name": " and ".join(studies),
        "command": "lalora report " + " ".join(studies),
        "recipe": {name: study.recipe for name, study in studies.items()},
        "methods": {method: names for study in studies.values() for method, names in study.methods.items()},
        "rivals": {rival: names for study in studies.values() for rival, names in study.rivals.items()},
        "runs": runs,
        "notes": list(dict.fromkeys(note for study in studies.values() for note in study.notes)),
        "published": _published(studies, lambda study: study.published, label_in),
        "published_validation": _published(studies, lambda study: study.published_validation, label_in),
        "published_costs": _published(studies, lambda study: study.published_costs, label_in),
        "selection": None,
    }
    found = checked(Results, {**dict(reference), **changed}, "results")
    return _selected_anew(found, studies.values())


def _require_same_base(first: str, reference: Results, name: str, study: Results) -> None:
    for metric in _MEASURED:
        ours, theirs = (getattr(one.base, metric) for one in (reference, study))
        # What one study did not measure says nothing.
        if None not in (ours, theirs) and not math.isclose(ours, theirs, rel_tol=_SAME):
            raise LaloraError(
                f"{first} and {name} cannot be compared: their base models have {metric} {ours} and {theirs}, so "
                "they are other models or were measured on other rows"
            )


def _kept(studies: Mapping[str, Results]) -> dict[str, list[Run]]:
    """Returns the runs of each study, without the settings of which an earlier one has the same runs."""
    found: dict[str, list[Run]] = {}
    for name, study in studies.items():
        earlier = [run for runs in found.values() for run in runs]
        here: dict[str, list[Run]] = {}
        for run in study.runs:
            here.setdefault(run.label, []).append(run)
        again = {label for label, runs in here.items() if all(any(_same(run, one) for one in earlier) for run in runs)}
        found[name] = [run for run in study.runs if run.label not in again]
    return found


def _same(one: Run, other: Run) -> bool:
    if (one.label, one.seed) != (other.label, other.seed) or not alike(one, other, but=()):
        return False
    return one.final is not None and other.final is not None and _equal(one.final, other.final)


def _equal(one: Evaluation, other: Evaluation) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in _OF_RUNS]
    known = [pair for pair in pairs if None not in pair]
    return bool(known) and all(math.isclose(*pair, rel_tol=_SAME) for pair in known)


def _published(
    studies: Mapping[str, Results], of: Callable[[Results], Sequence[Row]], label_in: Callable[[str, str], str]
) -> list[Row]:
    """Returns what was published of all studies, each thing once; what contradicts an earlier study names its own."""
    found: dict[tuple[Any, ...], Row] = {}
    for name, study in studies.items():
        for one in of(study):
            for label in chain([label_in(name, one.run), f"{one.run} ({name})"], _numbered(one.run, name)):
                row = one.model_copy(update={"run": label})
                if found.setdefault(_key(row), row) == row:
                    break
    return list(found.values())


def _numbered(run: str, study: str) -> Iterator[str]:
    """Returns names for more than one row of a study that contradicts what stands there already."""
    return (f"{run} ({study}, {number})" for number in count(2))


def _key(row: Row) -> tuple[Any, ...]:
    return row.run, getattr(row, "part", None)


def _selected_anew(results: Results, studies: Iterable[Results]) -> Results:
    asked = [study.recipe["select"] for study in studies if study.recipe.get("select") is not None]
    if not asked:
        return results
    if any(one != asked[0] for one in asked):
        note = "These studies select by different criteria; what each selected is in its own report."
        return results.model_copy(update={"notes": [*results.notes, note]})
    return results.model_copy(update={"selection": select(checked(Criteria, asked[0], "recipe.select"), results)})
