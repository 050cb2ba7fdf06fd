"""What a study selects: a setting of each method by its validation rows, judged by what it did on the scored ones."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from pydantic import ValidationError

from lalora.errors import LaloraError
from lalora.results.alike import require_alike
from lalora.results.criteria import Criteria
from lalora.results.intervals import LEVEL, holm, paired
from lalora.results.pareto import Point, hypervolume
from lalora.results.schema import Comparison, Evaluation, Results, Run, Selected, Selection, Setting
from lalora.results.scores import best_above, score, stability

_LOWER_IS_BETTER = ("target_loss", "source_kl", "source_loss")
_COMPARED = ("target_loss", "source_kl", "heldout_kl", "source_accuracy", "target_accuracy")
_BASELINE = "lora"
_ZERO_OF = "lalora"
"""The method whose first grid plain LoRA belongs to, as λ = 0: so Tables 4, 6 and 7 of the paper."""


def selection_of(results: Results) -> Selection | None:
    """Returns what a study selects by the criteria of its recipe, None where it has none."""
    asked = results.recipe.get("select")
    if asked is None:
        return None
    try:
        return select(Criteria.model_validate(asked), results)
    except ValidationError as error:
        raise LaloraError(f"results: field 'recipe.select': {error.errors()[0]['msg']}; run the study again") from error


def select(criteria: Criteria, results: Results) -> Selection:
    """Returns a setting of each method, and how it compares with plain LoRA on the scored rows, paired by seed.

    The runs of a method that differ in its knob and seed alone are one grid: the mean over seeds counts, and only
    settings that were run with every seed of the study and ended with finite numbers. Plain LoRA is λ = 0 of LaLoRA's
    first grid: its learning and keeping are among those that S_B is scaled by there, and it is no choice of that grid.
    """
    by_label: dict[str, list[Run]] = defaultdict(list)
    for run in results.runs:
        by_label[run.label].append(run)
    for of in by_label.values():
        require_alike(of)
    seeds = {run.seed for run in results.runs}
    whole = {
        label: of
        for label, of in by_label.items()
        if {run.seed for run in of} == seeds
        and all(_known(criteria, run.validation) and _known(criteria, run.final) for run in of)
    }
    left_out = [label for label in by_label if label not in whole]
    if not whole or not _known(criteria, results.base):
        return Selection(**criteria.model_dump(), methods=[], left_out=left_out)
    grids: dict[str, list[str]] = defaultdict(list)
    for label, of in whole.items():
        grids[grid_of(of[0], results)].append(label)
    ends = [_point(criteria, run.final) for of in whole.values() for run in of]
    corner = (_point(criteria, results.base)[0], min(kept for _, kept in ends))
    baseline = next((label for label, of in whole.items() if of[0].method == _BASELINE), None)
    scored = _scored(criteria, grids.values(), whole, baseline)
    methods = [_selected(criteria, labels, whole, corner, scored, results) for labels in grids.values()]
    taken = dict.fromkeys(
        label for one in methods for label in (one.stability, one.plasticity, one.above_floor) if label
    )
    against = [label for label in taken if label != baseline] if baseline is not None else []
    return Selection(
        **criteria.model_dump(),
        methods=methods,
        baseline=baseline,
        left_out=left_out,
        comparisons=_verdicts(
            [one for label in against for one in _compared(label, whole[label], whole[str(baseline)])]
        ),
    )


def grid_of(run: Run, results: Results) -> str:
    """Returns what the runs of a method share that differ in its knob and seed alone."""
    free = (results.names_of(run.method).knob, "seed")
    return f"{run.method} {sorted((key, str(value)) for key, value in run.settings.items() if key not in free)}"


def _known(criteria: Criteria, row: Evaluation | None) -> bool:
    return row is not None and None not in (getattr(row, criteria.learning), getattr(row, criteria.keeping))


def _point(criteria: Criteria, row: Evaluation | None) -> Point:
    learned, kept = (
        -getattr(row, name) if name in _LOWER_IS_BETTER else getattr(row, name)
        for name in (criteria.learning, criteria.keeping)
    )
    return learned, kept


def _scored(
    criteria: Criteria, grids: Iterable[Sequence[str]], runs: Mapping[str, Sequence[Run]], baseline: str | None
) -> dict[str, float]:
    """Returns S_B of every setting, scaled within its own grid."""
    found: dict[str, float] = {}
    for labels in grids:
        zero = [baseline] if baseline and baseline not in found and runs[labels[0]][0].method == _ZERO_OF else []
        of = [*zero, *(label for label in labels if label != baseline)]
        found |= dict(zip(of, score(*_means(criteria, of, runs), criteria.alpha), strict=True)) if of else {}
    return found | ({baseline: 0.0} if baseline and baseline not in found else {})


def _means(
    criteria: Criteria, labels: Sequence[str], runs: Mapping[str, Sequence[Run]]
) -> tuple[list[float], list[float]]:
    """Returns learning and keeping of settings on validation rows, means over seeds."""
    means = [_mean([_point(criteria, run.validation) for run in runs[label]]) for label in labels]
    return [mean[0] for mean in means], [mean[1] for mean in means]


def _selected(
    criteria: Criteria,
    labels: Sequence[str],
    runs: Mapping[str, Sequence[Run]],
    corner: Point,
    scored: Mapping[str, float],
    results: Results,
) -> Selected:
    learning, keeping = _means(criteria, labels, runs)
    floor = None if criteria.floor is None else best_above(_floor(criteria), learning, keeping)
    method = runs[labels[0]][0].method
    return Selected(
        method=method,
        knob=results.names_of(method).knob,
        settings=[
            Setting(
                label=label,
                learning=fmean(getattr(run.validation, criteria.learning) for run in runs[label]),
                keeping=fmean(getattr(run.validation, criteria.keeping) for run in runs[label]),
                score=scored[label],
            )
            for label in labels
        ],
        stability=labels[stability(keeping)],
        plasticity=max(labels, key=scored.__getitem__),
        above_floor=None if floor is None else labels[floor],
        hypervolume=hypervolume(
            [_mean([_point(criteria, run.final) for run in runs[label]]) for label in labels], corner
        ),
    )


def _floor(criteria: Criteria) -> float:
    assert criteria.floor is not None
    return -criteria.floor if criteria.keeping in _LOWER_IS_BETTER else criteria.floor


def _mean(points: Sequence[Point]) -> Point:
    return fmean(learned for learned, _ in points), fmean(kept for _, kept in points)


def _compared(label: str, ours: Sequence[Run], theirs: Sequence[Run]) -> list[Comparison]:
    found = []
    for metric in _COMPARED:
        own, other = ({run.seed: getattr(run.final, metric) for run in runs} for runs in (ours, theirs))
        if None in {*own.values(), *other.values()}:
            continue
        difference = paired(own, other)
        found.append(
            Comparison(
                label=label,
                metric=metric,
                mean=difference.mean,
                low=difference.low,
                high=difference.high,
                p=difference.p,
                seeds=difference.seeds,
                sure=difference.excludes_zero,
            )
        )
    return found


def _verdicts(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Returns comparisons with p-values corrected for their number, and by these which are sure."""
    corrected = holm([one.p for one in comparisons])
    return [
        one.model_copy(update={"p": p, "sure": p is not None and p < 1 - LEVEL})
        for one, p in zip(comparisons, corrected, strict=True)
    ]
