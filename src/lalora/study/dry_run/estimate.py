"""What a study would take, told before it runs: its runs, what is done, memory and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lalora.methods.costs import cost_of
from lalora.planning import speed, without_weights
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.settings import RunSettings, StudySettings
from lalora.study.setup.base_model import base_config
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.study.store.finished import DONE, TIMING
from lalora.study.store.identity import CONFIG
from lalora.study.store.records import read_json, read_rows

# An adapter in float32 with its gradient and the two moments of AdamW.
_BYTES_A_WEIGHT = 16
_LONGEST_STEP = 1e6
_USUAL_LENGTH = 512
_FLOP_A_WEIGHT = 4
"""Of a token in training: two forward, two for the gradients of activations; frozen weights need none of their own."""


@dataclass(frozen=True)
class Sizes:
    """What a model with its adapter weighs.

    Attributes:
        frozen: Number of frozen weights.
        trained: Number of adapter weights.
        weights: Bytes of the frozen weights.
    """

    frozen: int
    trained: int
    weights: int

    @property
    def memory(self) -> int:
        """Bytes of weights, adapter, gradients and optimizer; activations and curvature come on top."""
        return self.weights + _BYTES_A_WEIGHT * self.trained


def state(plan: RunPlan, folder: Path) -> str:
    """Tell how far a run is, as far as its folder alone can say."""
    config = read_json(folder / CONFIG)
    if config is None:
        return "to do"
    if not isinstance(config, Mapping) or config.get("settings") != plan.effective:
        return "other settings"
    return "done" if read_json(folder / DONE) is not None else "begun"


def sizes(study: StudySettings, settings: RunSettings) -> Sizes:
    """Count the weights of a run without loading any."""
    targets = settings.target_modules
    return _sizes(study.model_dump_json(), settings.rank, targets if isinstance(targets, str) else tuple(targets))


@lru_cache
def _sizes(written: str, rank: int, targets: str | tuple[str, ...]) -> Sizes:
    study = StudySettings.model_validate_json(written)
    config, kind = base_config(study), resolve_dtype(study.dtype)
    adapted = without_weights(config, kind, targets, rank, study.model)
    counts = {True: 0, False: 0}
    for parameter in adapted.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return Sizes(counts[False], counts[True], counts[False] * kind.itemsize)


def seconds(study: StudySettings, plans: Sequence[RunPlan], folder: Path) -> tuple[float, str]:
    """Estimate the time of training that is left, without measurements in between."""
    timed = [
        row["seconds"]
        for file in sorted(folder.glob(f"*/{TIMING}"))
        for row in read_rows(file)
        if isinstance(row.get("seconds"), float) and 0 < row["seconds"] < _LONGEST_STEP
    ]
    if timed:
        middle = sorted(timed)[len(timed) // 2]
        steps = sum(plan.settings.steps for plan in plans)
        return steps * middle, f"{len(timed)} steps timed in {folder}, {middle:.2f} s each"
    fast = speed(resolve_dtype(study.dtype), device())
    length = study.max_length or _USUAL_LENGTH
    work = sum(
        plan.settings.steps
        * plan.settings.batch_size
        * plan.settings.accumulation
        * length
        * _FLOP_A_WEIGHT
        * sizes(study, plan.settings).frozen
        * _share(plan)
        for plan in plans
    )
    told = f"rows of {length} tokens at the {fast / 1e9:,.0f} GFLOP/s that a matrix product reaches here"
    return work / fast, told


def _share(plan: RunPlan) -> float:
    # Of plain LoRA's time, as its methods were measured, each on top of the others.
    cost = cost_of({one.name: one.options for one in plan.methods})
    return cost.step + (cost.ready + cost.after) / plan.settings.steps
