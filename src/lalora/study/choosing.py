"""What a study chooses: a setting of each method by its validation rows, told by what it did on the scored ones."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lalora.methods.catalogue import knob_of
from lalora.study.intervals import paired
from lalora.study.records import Row
from lalora.study.selection import best_above, hypervolume, learning_prioritised, plasticity, stability
from lalora.study.settings import SelectSettings

_LOWER_IS_BETTER = ("target_loss", "source_kl", "source_loss")
_COMPARED = ("target_loss", "source_kl", "heldout_kl", "source_accuracy", "target_accuracy")
_BASELINE = "lora"


def choose(select: SelectSettings, base: Row, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Choose a setting of each method, and compare what was chosen with plain LoRA.

    The runs of a method that differ in its knob and seed alone are one grid: the mean over seeds counts, and only
    settings that were run with every seed of the study and ended with finite numbers.

    Args:
        select: By what to choose.
        base: Scores of the base model on the scored rows.
        runs: Results of the finished runs, each with a row `validation`.

    Returns:
        `methods`: for each grid its settings with their scores, the chosen ones by label, and the hypervolume of its
        front on the scored rows. `left_out`: labels of the settings that do not count. `comparisons`: chosen minus
        plain LoRA on the scored rows, paired by seed.
    """
    by_label: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        by_label[run["label"]].append(run)
    seeds = {run["seed"] for run in runs}
    whole = {
        label: of
        for label, of in by_label.items()
        if {run["seed"] for run in of} == seeds and all(_finite(select, run) for run in of)
    }
    grids: dict[str, list[str]] = defaultdict(list)
    for label, of in whole.items():
        grids[_grid(of[0])].append(label)
    left_out = [label for label in by_label if label not in whole]
    if not whole:
        return {**select.model_dump(), "methods": [], "baseline": None, "left_out": left_out, "comparisons": []}
    ends = [_scores(select, run["final"]) for of in whole.values() for run in of]
    corner = (_scores(select, base)[0], min(kept for _, kept in ends))
    methods = [_chosen(select, labels, whole, corner) for labels in grids.values()]
    chosen = dict.fromkeys(
        label for one in methods for label in (one["stability"], one["plasticity"], one["above_floor"]) if label
    )
    baseline = next((label for label, of in whole.items() if of[0]["method"] == _BASELINE), None)
    against = [label for label in chosen if baseline is not None and label != baseline]
    return {
        **select.model_dump(),
        "methods": methods,
        "baseline": baseline,
        "left_out": left_out,
        "comparisons": [
            comparison for label in against for comparison in _compared(label, whole[label], whole[str(baseline)])
        ],
    }


def _finite(select: SelectSettings, run: Mapping[str, Any]) -> bool:
    scores = [score for row in (run["validation"], run["final"]) for score in _scores(select, row)]
    return all(math.isfinite(score) for score in scores)


def _grid(run: Mapping[str, Any]) -> str:
    knob = knob_of(run["method"])
    rest = {key: value for key, value in run["settings"].items() if key not in (knob, "seed")}
    return f"{run['method']} {sorted((key, str(value)) for key, value in rest.items())}"


def _scores(select: SelectSettings, row: Mapping[str, Any]) -> tuple[float, float]:
    learned, kept = (
        -row[name] if name in _LOWER_IS_BETTER else row[name] for name in (select.learning, select.keeping)
    )
    return learned, kept


def _chosen(
    select: SelectSettings,
    labels: Sequence[str],
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    corner: tuple[float, float],
) -> dict[str, Any]:
    means = [_means([_scores(select, run["validation"]) for run in runs[label]]) for label in labels]
    learning, keeping = [mean[0] for mean in means], [mean[1] for mean in means]
    scores = learning_prioritised(learning, keeping, select.alpha)
    floor = None if select.floor is None else best_above(_floor(select), learning, keeping)
    method = runs[labels[0]][0]["method"]
    ends = [_means([_scores(select, run["final"]) for run in runs[label]]) for label in labels]
    return {
        "method": method,
        "knob": knob_of(method),
        "settings": [
            {
                "label": label,
                "learning": fmean(run["validation"][select.learning] for run in runs[label]),
                "keeping": fmean(run["validation"][select.keeping] for run in runs[label]),
                "score": score,
            }
            for label, score in zip(labels, scores, strict=True)
        ],
        "stability": labels[stability(keeping)],
        "plasticity": labels[plasticity(learning, keeping, select.alpha)],
        "above_floor": None if floor is None else labels[floor],
        "hypervolume": hypervolume(ends, corner),
    }


def _floor(select: SelectSettings) -> float:
    assert select.floor is not None
    return -select.floor if select.keeping in _LOWER_IS_BETTER else select.floor


def _means(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(learned for learned, _ in points), fmean(kept for _, kept in points)


def _compared(
    label: str, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for metric in _COMPARED:
        own, other = ({run["seed"]: run["final"].get(metric) for run in runs} for runs in (ours, theirs))
        if None in {*own.values(), *other.values()}:
            continue
        difference = paired(own, other)
        found.append(
            {
                "label": label,
                "metric": metric,
                "mean": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "seeds": difference.seeds,
                "sure": difference.excludes_zero,
            }
        )
    return found
