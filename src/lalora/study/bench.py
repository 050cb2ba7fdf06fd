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
from lalora.domains import batches, read_text, sample_text, write_text
from lalora.evaluation import EvalSet, evaluate
from lalora.laplace import Laplace, fit
from lalora.methods import LaLoRA
from lalora.study.base_model import load_base
from lalora.study.identity import Identity, key
from lalora.study.material import Material
from lalora.study.plan import RunPlan
from lalora.study.records import Row, read_json, write_json
from lalora.study.settings import SELF_SOURCE, RunSettings, StudySettings
from lalora.study.start import with_adapter

Say = Callable[[str], None]
_LATER_KEYS = ("forecasts", "scales", "soften", "validation_rows", "accuracy_at", "timed_steps")


@dataclass(frozen=True)
class Bench:
    """What the runs of a study share.

    Attributes:
        study: Their common settings.
        material: Their data.
        evalset: What is measured on.
        validation: What settings are chosen by; None where there is nothing to choose.
        common: What all their results depend on.
        shared: Folder of what is made once and used by several runs.
        say: Tells the user what goes on.
    """

    study: StudySettings
    material: Material
    evalset: EvalSet
    validation: EvalSet | None
    common: Identity
    shared: Path
    say: Say

    def identity(self, plan: RunPlan) -> Identity:
        """Write down all that the result of a run depends on.

        Args:
            plan: The run.

        Returns:
            JSON types.
        """
        return run_identity(self.common, plan)

    def start(self, settings: RunSettings) -> PeftModel:
        """Make the model at its start.

        Args:
            settings: Of the run.

        Returns:
            A PEFT model on the device.
        """
        return with_adapter(load_base(self.study), settings)

    def measure(self, model: PeftModel, step: int, accuracy: bool) -> Row:
        """Measure a model, which leaves as it came.

        Args:
            model: A PEFT model.
            step: To be written in the row.
            accuracy: Whether to answer questions too, which takes long.

        Returns:
            A row of metrics.
        """
        return evaluate(model, self.material.tokenizer, self.evalset, step, accuracy)

    def validate(self, model: PeftModel, step: int) -> Row:
        """Measure a finished model on the rows that settings are chosen by.

        Args:
            model: A PEFT model.
            step: To be written in the row.

        Returns:
            A row of metrics of kind `validation`.
        """
        assert self.validation is not None
        return evaluate(model, self.material.tokenizer, self.validation, step, accuracy=True) | {"kind": "validation"}

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
            return self.material.chosen_batches(settings)
        rows = settings.source_rows * len(settings.source_domains or self.material.sources)
        made: dict[str, Any] = {
            "rows": rows,
            "length": min(settings.source_length, self.material.tokenizer.model_max_length),
            "temperature": settings.source_temperature,
            "seed": settings.seed,
        }
        tokenizer = self.material.tokenizer
        path = self.shared / f"self-source-{key({**self.common, 'sampled': made})}.jsonl"
        with self._alone(path):
            if not path.exists():
                self.say("letting the base model write source text")
                write_text(path, sample_text(model, tokenizer, **made), tokenizer, model=self.study.model, **made)
        return {"self": batches(read_text(path), settings.source_batch_size, self.material.pad)}

    def laplace_folder(self, settings: RunSettings, method: LaLoRA, start: dict[str, Any] | None) -> Path:
        """Name where the curvature of a run is kept; runs that differ in strength or in how they train share it."""
        seen = {"rank", "alpha", "target_modules", "seed", "source_rows"}
        seen |= {"source_text", *SELF_SOURCE} if settings.source_text == "self" else set()
        seen |= {"source_domains"} if settings.source_domains else set()
        seen |= {"source_batch_size"} if method.fit.fisher == "batch" else set()
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
        """Fit a curvature and save it, unless that was done already.

        Args:
            folder: Where it is kept.
            make: Fits it.
            dtype: Type in the file; None for its own.
        """
        with self._alone(folder):
            if not (folder / "laplace.json").exists():
                self.say("fitting the curvature on source text")
                make().save(folder, dtype)

    def softening_folder(self, settings: RunSettings) -> Path:
        """Name where the base's curvature is kept by which adapters are softened.

        Args:
            settings: Of a run; those of one seed and the same layers share it.

        Returns:
            A folder, whether it exists or not.
        """
        seen = settings.model_dump(mode="json", include={"target_modules", "seed"})
        return self.shared / f"softening-{key({**self.common, 'softening': seen})}"

    def laplace_at_start(self, plan: RunPlan, others: list[RunPlan]) -> Laplace | None:
        """Find a kept diagonal at the start of a run, its own or that of a run with the same start.

        Args:
            plan: The run.
            others: All runs of the study.

        Returns:
            The Laplace, if one was fitted at that start.
        """
        start = ("rank", "alpha", "target_modules", "seed")
        folders = [
            self.laplace_folder(other.settings, method, None)
            for other in [plan, *others]
            if other.start is None and all(getattr(other.settings, n) == getattr(plan.settings, n) for n in start)
            for method in other.build()
            if isinstance(method, LaLoRA) and method.fit.curvature == Diagonal.kind
        ]
        return next((Laplace.load(folder) for folder in folders if (folder / "laplace.json").exists()), None)


def common_identity(study: StudySettings, material: Material, **facts: Any) -> Identity:
    """Write down what all results of a study depend on.

    Args:
        study: The common settings; where model and data lie does not matter, what they hold does.
        material: The data.
        **facts: What else matters, in JSON types.

    Returns:
        JSON types.
    """
    places = {"model", "random_weights", "layers", "dtype", "sources", "target", "held_out"}
    # As if there were no such key: a study without them is the study it always was.
    places |= {name for name in _LATER_KEYS if not getattr(study, name)}
    places |= set() if study.soften else {"soften_rows"}
    data = {data.domain.name: dict(data.sha) for data in material.domains}
    return {**facts, "study": study.model_dump(mode="json", exclude=places), "data": data}


def run_identity(common: Identity, plan: RunPlan) -> Identity:
    """Write down all that the result of a run depends on.

    Args:
        common: What all results of its study depend on.
        plan: The run.

    Returns:
        JSON types.
    """
    # Forecasts are fitted on source rows, whatever the method itself looks at.
    seen = {"source_rows": plan.settings.source_rows} if common["study"].get("forecasts") else {}
    return {**common, "run": plan.effective | seen}
