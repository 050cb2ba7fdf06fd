"""Several studies as one, so that their runs can be compared."""

import math
from collections.abc import Mapping
from typing import Any

from lalora.errors import LaloraError
from lalora.report.schema import parse

_MEASURED = ("target_loss", "source_loss", "heldout_loss", "source_accuracy", "target_accuracy")


def merged(studies: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the runs of several studies as those of one; where studies share a label, it says which study it is of.

    Choices and published numbers stay with their own studies.

    Args:
        studies: The content of a `results.json` by what to call the study.

    Raises:
        LaloraError: the studies measured their base models differently, on other rows or of other models.
    """
    (first, reference), *others = studies.items()
    for name, study in others:
        for metric in _MEASURED:
            ours, theirs = (parse(one).base.model_dump()[metric] for one in (reference, study))
            # Another number of threads changes the last digits; what one study did not measure tells nothing.
            if None not in (ours, theirs) and not math.isclose(ours, theirs, rel_tol=1e-3):
                raise LaloraError(
                    f"{first} and {name} cannot be compared: their base models have {metric} {ours} and {theirs}, so "
                    "they are other models or were measured on other rows"
                )
    labels = [run["label"] for study in studies.values() for run in _distinct(study)]
    runs = []
    for name, study in studies.items():
        for run in study["runs"]:
            label = run["label"] if labels.count(run["label"]) == 1 else f"{run['label']} ({name})"
            runs.append({**run, "name": f"{name}/{run['name']}", "label": label})
    notes = list(dict.fromkeys(note for study in studies.values() for note in study.get("notes", [])))
    told = {
        "name": " and ".join(studies),
        "command": "lalora report " + " ".join(studies),
        "recipe": {name: study.get("recipe", {}) for name, study in studies.items()},
        "runs": runs,
        "notes": notes,
        "published": [],
        "selection": None,
    }
    return {**reference, **told}


def _distinct(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list({run["label"]: run for run in study["runs"]}.values())
