"""Everything that the runs of a study share: model, data, measurements, and fits of the curvature."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
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
from lalora.study.base_model import load_base
from lalora.study.identity import Identity, key
from lalora.study.knobs import SELF_SOURCE, takes_laplace
from lalora.study.material import Material
from lalora.study.plan import RunPlan
from lalora.study.records import Row, read_json, write_json
from lalora.study.settings import RunSettings, StudySettings
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
                settings = RunSettings(method="lora", steps=1, rank=1)
                row = self.measure(self.start(settings), 0, accuracy=True)
                write_json(path, row)
        return row

    @contextmanager
    def _alone(self, path: Path) -> Generator[None, None, None]:
        # Of several workers that want the same thing one makes it, and the others wait for it.
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield

    def proxies(self, model: PeftModel, settings: RunSettings) -> dict[str, list[dict[str, Tensor]]]:
        """Batch the rows that a method may see.

        Text that the model writes itself is as many rows as of all sources together, and kept in a file.

        Args:
            model: At its start.
            settings: Of the run.

        Returns:
            Batches by source; `self` where the base model wrote them.
        """
        if settings.proxy_text == "source":
            return self.material.proxies(settings)
        rows = settings.proxy_rows * len(settings.proxy_sources or self.material.sources)
        made: dict[str, Any] = {
            "rows": rows,
            "length": min(settings.proxy_length, self.material.tokenizer.model_max_length),
            "temperature": settings.proxy_temperature,
            "seed": settings.seed,
        }
        tokenizer = self.material.tokenizer
        path = self.shared / f"self-source-{key({**self.common, 'sampled': made})}.jsonl"
        with self._alone(path):
            if not path.exists():
                self.say("letting the base model write proxy text")
                write_text(path, sample_text(model, tokenizer, **made), tokenizer, model=self.study.model, **made)
        return {"self": batches(read_text(path), settings.proxy_batch_size, self.material.pad)}

    def laplace_folder(self, settings: RunSettings) -> Path:
        """Name where the curvature of a run is kept.

        Runs that differ in strength or in how they train share it.

        Args:
            settings: Of a run whose method takes a Laplace.

        Returns:
            A folder, whether it exists or not.
        """
        seen = {"rank", "alpha", "target_modules", "seed", "labels", "combine", "proxy_rows"}
        seen |= {"curvature", "fisher", "factor_rank", "factor_keep"}
        seen |= {"proxy_text", *SELF_SOURCE} if settings.proxy_text == "self" else set()
        seen |= {"proxy_sources"} if settings.proxy_sources else set()
        seen |= {"proxy_batch_size"} if settings.fisher == "batch" else set()
        identity = {**self.common, "laplace": settings.model_dump(mode="json", include=seen)}
        return self.shared / f"laplace-{key(identity)}"

    def laplace(self, model: PeftModel, settings: RunSettings) -> Laplace:
        """Fit the curvature of a run, or load it if it was fitted already.

        Args:
            model: At its start.
            settings: Of a run whose method takes a Laplace.

        Returns:
            The Laplace.
        """
        folder = self.laplace_folder(settings)
        self.kept(folder, lambda: fit(model, self.proxies(model, settings), **fit_options(settings)))
        # What is charged besides the curvature is no part of the fit, which runs with other priors share.
        return Laplace.load(folder, settings.prior)

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
        alike = [
            other
            for other in [plan, *others]
            if takes_laplace(other.settings.method)
            and other.settings.curvature == Diagonal.kind
            and all(getattr(other.settings, name) == getattr(plan.settings, name) for name in start)
        ]
        folders = [self.laplace_folder(other.settings) for other in alike]
        return next((Laplace.load(folder) for folder in folders if (folder / "laplace.json").exists()), None)


def fit_options(settings: RunSettings) -> dict[str, Any]:
    """Name what `lalora.fit` is told besides model and batches.

    Args:
        settings: Of a run whose method takes a Laplace.

    Returns:
        Keyword arguments.
    """
    same = {name: getattr(settings, name) for name in ("curvature", "fisher", "labels", "combine", "seed")}
    return {**same, "factor_rank": settings.factor_rank, "factor_keep": settings.factor_keep}


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
    # Forecasts are fitted on proxy rows, whatever the method itself looks at.
    seen = {"proxy_rows": plan.settings.proxy_rows} if common["study"].get("forecasts") else {}
    return {**common, "run": plan.effective | seen}
