"""Everything that the runs of a study share: model, data, measurements, and fits of the curvature."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from peft import PeftModel
from torch import Tensor

from lalora.curvature import Diagonal
from lalora.evaluation import EvalSet, KeptBase, evaluate
from lalora.files import write_json
from lalora.laplace import Laplace, fit
from lalora.methods import LaLoRA
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.settings import SELF_SOURCE, RunSettings, StudySettings
from lalora.study.setup.base_model import load_base
from lalora.study.setup.data import StudyData
from lalora.study.setup.start import with_adapter
from lalora.study.store.identity import Identity, key
from lalora.study.store.records import Row, read_json
from lalora.text import batches, read_text, sample_text, write_text

Say = Callable[[str], None]
_LATER_KEYS = ("forecasts", "scales", "soften", "after", "validation_rows", "accuracy_at", "timed_steps", "all_logits")


@dataclass(frozen=True)
class Context:
    """What the runs of a study share.

    Attributes:
        study: Their common settings.
        data: Their data.
        evalset: What is measured on.
        validation: What settings are chosen by; None where there is nothing to choose.
        common: What all their results depend on.
        shared: Folder of what is made once and used by several runs.
        say: Tells the user what goes on.
    """

    study: StudySettings
    data: StudyData
    evalset: EvalSet
    validation: EvalSet | None
    common: Identity
    shared: Path
    say: Say

    def identity(self, plan: RunPlan) -> Identity:
        """Write down all that the result of a run depends on."""
        return run_identity(self.common, self.study, plan)

    def start(self, settings: RunSettings) -> PeftModel:
        """Make the model at its start."""
        return with_adapter(load_base(self.study), settings)

    def measure(self, model: PeftModel, step: int, accuracy: bool, kept: KeptBase | None = None) -> Row:
        """Measure a model, which is left unchanged; `kept` is of this very model."""
        return evaluate(model, self.data.tokenizer, self.evalset, step, accuracy, kept=kept)

    def validate(self, model: PeftModel, step: int) -> Row:
        """Measure a finished model on the rows that settings are chosen by."""
        assert self.validation is not None
        return evaluate(model, self.data.tokenizer, self.validation, step, accuracy=True) | {"kind": "validation"}

    @cached_property
    def base(self) -> Row:
        """The untouched model, measured once and kept."""
        path = self.shared / f"base-{key(self.common)}.json"
        with self._alone(path):
            row: Row | None = read_json(path)
            if row is None:
                damaged = f": {path} is damaged" if path.exists() else ""
                self.say(f"measuring the base model{damaged}")
                settings = RunSettings(steps=1, rank=1)
                row = self.measure(self.start(settings), 0, accuracy=True)
                write_json(path, row)
        return row

    @contextmanager
    def _alone(self, path: Path) -> Generator[None, None, None]:
        # Of several workers that want the same thing one makes it, and the others wait for it.
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield

    def source_batches(self, model: PeftModel, settings: RunSettings) -> dict[str, list[dict[str, Tensor]]]:
        """Batch the rows that a method may see, by source; `self` where the base model wrote them.

        Text that the model writes itself is as many rows as of all sources together, and kept in a file.
        """
        if settings.source_text == "source":
            return self.data.chosen_batches(settings)
        rows = settings.source_rows * len(settings.source_domains or self.data.sources)
        made: dict[str, Any] = {
            "rows": rows,
            "length": min(settings.source_length, self.data.tokenizer.model_max_length),
            "temperature": settings.source_temperature,
            "seed": settings.seed,
        }
        tokenizer = self.data.tokenizer
        path = self.shared / f"self-source-{key({**self.common, 'sampled': made})}.jsonl"
        with self._alone(path):
            if not path.exists():
                self.say("letting the base model write source text")
                write_text(path, sample_text(model, tokenizer, **made), tokenizer, model=self.study.model, **made)
        return {"self": batches(read_text(path), settings.source_batch_size, self.data.pad)}

    def laplace_folder(self, settings: RunSettings, method: LaLoRA, start: dict[str, Any] | None) -> Path:
        """Name where the curvature of a run is kept; runs that differ in strength or in how they train share it."""
        seen = {"rank", "alpha", "target_modules", "seed", "source_rows"}
        seen |= {"source_text", *SELF_SOURCE} if settings.source_text == "self" else set()
        seen |= {"source_domains"} if settings.source_domains else set()
        seen |= {"source_batch_size"} if method.fit.fisher == "batch" else set()
        seen |= {"init"} if settings.init != "kaiming" and start is None else set()
        fitted = {**settings.model_dump(mode="json", include=seen), **asdict(method.fit)}
        if start:
            fitted["start"] = start
        return self.shared / f"laplace-{key({**self.common, 'laplace': fitted})}"

    def laplace(
        self, model: PeftModel, settings: RunSettings, method: LaLoRA, start: dict[str, Any] | None = None
    ) -> Laplace:
        """Fit the curvature that a method wants of a model at its start, or load it if it was fitted already."""
        folder = self.laplace_folder(settings, method, start)
        self.kept(folder, lambda: fit(model, self.source_batches(model, settings), **asdict(method.fit)))
        # What is penalised besides the curvature is no part of the fit, which runs with other priors share.
        return Laplace.load(folder, method.prior)

    def kept(self, folder: Path, make: Callable[[], Laplace], dtype: torch.dtype | None = None) -> None:
        """Fit a curvature and save it, unless that was done already."""
        with self._alone(folder):
            if not (folder / "laplace.json").exists():
                self.say("fitting the curvature on source text")
                make().save(folder, dtype)

    def softening_folder(self, settings: RunSettings) -> Path:
        """Name where the base's curvature is kept by which adapters are softened."""
        seen = settings.model_dump(mode="json", include={"target_modules", "seed"})
        return self.shared / f"softening-{key({**self.common, 'softening': seen})}"

    def laplace_at_start(self, plan: RunPlan, others: list[RunPlan]) -> Laplace | None:
        """Find a kept diagonal at the start of a run, its own or that of a run with the same start."""
        start = ("rank", "alpha", "init", "target_modules", "seed")
        folders = [
            self.laplace_folder(other.settings, method, None)
            for other in [plan, *others]
            if other.start is None and all(getattr(other.settings, n) == getattr(plan.settings, n) for n in start)
            for method in other.build()
            if isinstance(method, LaLoRA) and method.fit.curvature == Diagonal.kind
        ]
        return next((Laplace.load(folder) for folder in folders if (folder / "laplace.json").exists()), None)


def common_identity(study: StudySettings, study_data: StudyData, **facts: Any) -> Identity:
    """Write down what all results of a study depend on."""
    places = {"model", "random_weights", "layers", "dtype", "sources", "target", "held_out"}
    # As if there were no such key: a study without them is the study it always was.
    places |= {name for name in _LATER_KEYS if not getattr(study, name)}
    places |= set() if study.soften or study.after else {"soften_rows"}
    data = {data.domain.name: dict(data.sha) for data in study_data.domains}
    return {**facts, "study": study.model_dump(mode="json", exclude=places), "data": data}


def run_identity(common: Identity, study: StudySettings, plan: RunPlan) -> Identity:
    """Write down all that the result of a run depends on."""
    # Forecasts are fitted on source rows, whatever the method itself looks at.
    seen = {"source_rows": plan.settings.source_rows} if study.forecasts else {}
    if plan.settings.softens:
        seen["soften_rows"] = study.soften_rows
    return {**common, "run": plan.effective | seen}
