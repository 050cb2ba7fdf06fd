"""The kept adapter of a run as a stranger has it: from its file, on the untouched base, with rows to fit on."""

import random
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from peft import PeftModel
from torch import Tensor

from lalora.assets import load_adapter
from lalora.curvature import WeightKfac
from lalora.evaluation import KeptBase
from lalora.files import write_json
from lalora.laplace import Laplace, fit
from lalora.posthoc import Fit, Trained
from lalora.study.recipe.plan import RunPlan
from lalora.study.run.timed import memory, timed
from lalora.study.setup.base_model import load_base
from lalora.study.setup.context import Context
from lalora.study.setup.device import device
from lalora.study.store.finished import AFTER, METRICS
from lalora.study.store.records import Row, append_row, read_json
from lalora.text import batches

SOURCE: Fit = "source weight-kfac"
TARGET: Fit = "target weight-kfac"
_BATCH = 8
T = TypeVar("T")
Batches = list[dict[str, Tensor]]


def rewound(checkpoints: Path, step: int) -> Path:
    """Name where a run that is not done keeps its adapter after a step."""
    return checkpoints / f"rewind-{step}.safetensors"


class KeptAdapter:
    """A kept adapter, what is fitted for it, each once, and what each part took."""

    def __init__(self, plan: RunPlan, context: Context, folder: Path, checkpoints: Path, with_base: bool) -> None:
        """Load it; `with_base` fits the base's curvature too, or finds it, which takes a base without an adapter."""
        self._settings, self._context, self._folder, self._checkpoints = plan.settings, context, folder, checkpoints
        self._took: dict[Fit, Row] = {}
        base = load_base(context.study).to(device())  # type: ignore[arg-type]
        self._curvature = context.softening_folder(plan.settings)
        if with_base:
            self._fit_base(base)
        self.model: PeftModel = load_adapter(base, folder, context.study.model).to(device())

    @cached_property
    def trained(self) -> Trained:
        """What rivals take."""
        return Trained(
            self.model,
            {"target": self.target[0]},
            self._source,
            laplace=lambda: self.laplace,
            earlier=self._earlier,
            steps=self._settings.steps,
            seed=self._settings.seed,
        )

    @cached_property
    def target(self) -> tuple[Batches, Batches]:
        """Trained rows for curvatures, and others for the scale at which a front begins."""
        trained = {id(item): item for item in self._context.data.training_items(self._settings)}
        others = [item for item in self._context.data.training if id(item) not in trained]
        choice, count = random.Random(f"softening {self._settings.seed}"), self._context.study.soften_rows
        seen, unseen = (choice.sample(items, min(count, len(items))) for items in (list(trained.values()), others))
        pad = self._context.data.pad
        return batches(seen, _BATCH, pad), batches(unseen, _BATCH, pad)

    @cached_property
    def laplace(self) -> Laplace:
        """The base's curvature."""
        return Laplace.load(self._curvature)

    def fit(self, name: Fit) -> Laplace:
        """Fit a curvature, once."""
        if name not in self._took:
            found, took = spent(lambda: self.trained.fit(name))
            # The base's was fitted before, by this run or by another one.
            self._took[name] = (read_json(self._cost) or {}) if name == SOURCE else took
            return found
        return self.trained.fit(name)

    def measure(self, kind: str, **values: object) -> None:
        """Measure the model as it is now, and write it down."""
        row = self._context.measure(self.model, self._settings.steps, accuracy=False, kept=self._kept_base)
        append_row(self._folder / METRICS, row | {"kind": kind, **values})

    def tell(self, rival: str, part: str, took: Row) -> None:
        """Write down what a part took."""
        append_row(self._folder / AFTER, {"step": self._settings.steps, "rival": rival, "part": part, **took})

    def tell_of_fits(self, rival: str, names: tuple[Fit, ...]) -> None:
        """Write down what fits took, also where another rival had them made."""
        for name in names:
            self.tell(rival, name, self._took[name])

    @property
    def seconds_of_fits(self) -> float:
        """What was fitted since the adapter was loaded took so long."""
        return sum(float(row.get("seconds", 0.0)) for name, row in self._took.items() if name != SOURCE)

    @cached_property
    def _kept_base(self) -> KeptBase:
        return KeptBase(self.model, self._context.evalset.drifting)

    @cached_property
    def _source(self) -> Mapping[str, Batches]:
        return self._context.data.source_batches(self._context.study.soften_rows, _BATCH, self._settings.seed)

    @property
    def _cost(self) -> Path:
        return self._curvature.with_name(f"{self._curvature.name}-cost.json")

    def _fit_base(self, base: torch.nn.Module) -> None:
        def make() -> Laplace:
            found, took = spent(
                lambda: fit(
                    base,
                    self._source,
                    curvature=WeightKfac.kind,
                    target_modules=self._settings.target_modules,
                    seed=self._settings.seed,
                    progress=False,
                )
            )
            write_json(self._cost, took)
            return found

        self._context.kept(self._curvature, make, torch.bfloat16)

    def _earlier(self, step: int) -> Mapping[str, Tensor]:
        return safetensors.torch.load_file(rewound(self._checkpoints, step))


def spent(work: Callable[[], T]) -> tuple[T, Row]:
    """Do it, and tell its seconds and the bytes that it held at most beyond those before it."""
    before = memory()["allocated"]
    result, took = timed(work)
    held = None if before is None else max(0, took["peak"] - before)
    return result, {"seconds": took["seconds"], "memory": held}
