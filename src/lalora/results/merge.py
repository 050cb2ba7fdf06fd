"""Several studies as one, so that their runs can be compared."""

import math
from collections.abc import Mapping

from lalora.errors import LaloraError
from lalora.results.load import checked
from lalora.results.schema import Results, Run

_MEASURED = ("target_loss", "source_loss", "heldout_loss", "source_accuracy", "target_accuracy")


def merged(studies: Mapping[str, Results]) -> Results:
    """Returns the runs of several studies as those of one; where studies share a label, it says which study it is of.

    What was selected and published stays with its own study.

    Raises:
        LaloraError: the studies measured their base models differently, on other rows or of other models.
    """
    (first, reference), *others = studies.items()
    for name, study in others:
        for metric in _MEASURED:
            ours, theirs = (getattr(one.base, metric) for one in (reference, study))
            # Another number of threads changes the last digits; what one study did not measure says nothing.
            if None not in (ours, theirs) and not math.isclose(ours, theirs, rel_tol=1e-3):
                raise LaloraError(
                    f"{first} and {name} cannot be compared: their base models have {metric} {ours} and {theirs}, so "
                    "they are other models or were measured on other rows"
                )
    labels = [label for study in studies.values() for label in {run.label for run in study.runs}]
    runs = [
        checked(Run, {**dict(run), "name": f"{name}/{run.name}", "label": _label(run, name, labels)}, name)
        for name, study in studies.items()
        for run in study.runs
    ]
    changed = {
        "name": " and ".join(studies),
        "command": "lalora report " + " ".join(studies),
        "recipe": {name: study.recipe for name, study in studies.items()},
        "methods": {method: names for study in studies.values() for method, names in study.methods.items()},
        "runs": runs,
        "notes": list(dict.fromkeys(note for study in studies.values() for note in study.notes)),
        "published": [],
        "published_costs": [],
        "selection": None,
    }
    return checked(Results, {**dict(reference), **changed}, "results")


def _label(run: Run, study: str, labels: list[str]) -> str:
    return run.label if labels.count(run.label) == 1 else f"{run.label} ({study})"
