"""The steps of a study one by one, for a user's own model: fit, train, evaluate."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig, PeftModel

from lalora import processes
from lalora.adapter import name_in_base
from lalora.assets import adapter_settings, load_adapter, load_model, load_tokenizer
from lalora.assets.patterns import without_patterns
from lalora.domains import batches, sample_text, write_text
from lalora.errors import LaloraError
from lalora.evaluation import EvalSet
from lalora.evaluation import evaluate as measure
from lalora.fisher import own_part
from lalora.laplace import Laplace, fit
from lalora.methods import LaLoRA
from lalora.study.base_model import load_base, load_words
from lalora.study.bench import Bench, Say, common_identity, run_identity
from lalora.study.device import device
from lalora.study.done import METRICS
from lalora.study.folder import fresh_folder, held_for_all, require_room_for_runs
from lalora.study.identity import facts, require_same_run
from lalora.study.marked_yaml import Marked
from lalora.study.material import Item, evaluation_set, limit_to_context, load_all, prepare, source_batches
from lalora.study.plan import RunPlan, single, validated
from lalora.study.precision import resolve_dtype
from lalora.study.records import Row, read_rows
from lalora.study.settings import RunSettings, StudySettings
from lalora.study.start import adapted, with_adapter
from lalora.study.train_run import train_run
from lalora.switched_off import why_not_base

SELF_SOURCE_FILE = "self-source.jsonl"


@dataclass(frozen=True)
class _GivenBench(Bench):
    """A bench whose runs start from a Laplace that the user brought."""

    given: Laplace | None

    def start(self, settings: RunSettings) -> PeftModel:
        """Make the model at its start: at μ if there is a Laplace.

        Args:
            settings: Of the run.

        Returns:
            A PEFT model on the device.
        """
        return _start(load_base(self.study), self.given, settings)

    def laplace(
        self, model: PeftModel, settings: RunSettings, method: LaLoRA, start: dict[str, Any] | None = None
    ) -> Laplace:
        """Return what the user brought."""
        return super().laplace(model, settings, method, start) if self.given is None else self.given


def fit_laplace(
    model: str,
    dtype: str,
    sources: Mapping[str, str],
    settings: Mapping[str, Any],
    self_source: int | None,
    bare: bool,
    out: Path,
    say: Say,
) -> None:
    """Fit a Laplace at the start of a fresh adapter, or of the base model alone, and keep it.

    Args:
        model: An embedded name, a local folder or a hub id.
        dtype: Of the frozen weights, as in recipes.
        sources: Place by domain.
        settings: Of the adapter and the fit.
        self_source: Rows of text that the base model writes in the place of the sources, kept beside the Laplace.
        bare: Whether to fit the base model, in bfloat16 on disk, for every adapter on it.
        out: Folder to write.
        say: Tells the user what goes on.
    """
    with processes.together():
        plan = single("", "", {"method": LaLoRA.name, "steps": 1, **settings}, _COMMAND_LINE)
        checked = plan.settings
        (method,) = plan.build()
        assert isinstance(method, LaLoRA)
    with held_for_all(out):
        with processes.together():
            say(f"loading {model} and the data")
            base = load_model(model, resolve_dtype(dtype))
            tokenizer = load_tokenizer(model)
            limit_to_context(tokenizer, base.config)
            asked = checked.source_rows if self_source is None else self_source
            size = _rows_a_batch(checked, method, asked)
            if self_source is None:
                seen = source_batches(load_all(sources), tokenizer, asked, size, checked.seed)
            else:
                say("letting the base model write source text")
                made: dict[str, Any] = {
                    "rows": self_source,
                    "length": min(checked.source_length, tokenizer.model_max_length),
                    "temperature": checked.source_temperature,
                    "seed": checked.seed,
                }
                items = _written(base, tokenizer, made)
                seen = {"self": batches(items, size, int(tokenizer.pad_token_id))}
            start = base.to(device()) if bare else with_adapter(base, checked)  # type: ignore[arg-type]
        laplace = fit(
            start,
            {name: own_part(rows) for name, rows in seen.items()},
            target_modules=checked.target_modules if bare else None,
            prior=method.prior,
            **asdict(method.fit),
        )
        with processes.together():
            if processes.is_main():
                laplace.save(out, torch.bfloat16 if bare else None)
                if self_source is not None:
                    write_text(out / SELF_SOURCE_FILE, items, tokenizer, model=model, **made)
        for dataset in laplace.provenance.datasets:
            if dataset.rows < asked:
                say(f"{dataset.name}: {asked} rows were asked for, and {dataset.rows} have a completion or are there")
        if laplace.discarded:
            say(f"up to {laplace.discarded:.2%} of a Kronecker factor's trace was left out")


def _rows_a_batch(settings: RunSettings, method: LaLoRA, rows: int) -> int:
    # Where batches do not count, none of the processes should go without.
    share = settings.source_batch_size if method.fit.fisher == "batch" else -(-rows // processes.count())
    return min(settings.source_batch_size, share)


def _written(base: Any, tokenizer: Any, made: Mapping[str, Any]) -> list[Item]:
    # Other devices might write other text.
    model = base.to(device())
    texts = processes.agreed(lambda: sample_text(model, tokenizer, **made) if processes.is_main() else [])
    return texts[0]


def train_adapter(
    study: Mapping[str, Any],
    settings: Mapping[str, Any],
    laplace: Path | None,
    out: Path,
    say: Say,
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Row, Row]:
    """Fine-tune once and keep the adapter.

    Args:
        study: As in recipes, without sources.
        settings: As in recipes.
        laplace: Folder of a Laplace to hold on to, if any.
        out: Folder of the run.
        say: Tells the user what goes on.
        asked: What the user asked of the adapter by PEFT's names, None where nothing.

    Returns:
        The metrics before and after.
    """
    with processes.together():
        common: StudySettings = validated(StudySettings, study, (), _COMMAND_LINE)
        given = Laplace.load(laplace) if laplace else None
        if given is not None and not given.of_base:
            _require_its_adapter(given, asked)
        plan = single(out.name, "LoRA", settings, _COMMAND_LINE)
        if given:
            plan = replace(plan, label=f"{LaLoRA.label} λ={plan.methods[0].options['strength']:g}")
    with held_for_all(out):
        with processes.together():
            bench = _bench(common, plan, given, _content(laplace), out, say)
        train_run(plan, bench, out, plan.label)
    rows = [row for row in read_rows(out / METRICS) if row["kind"] == "eval"]
    return rows[0], rows[-1]


def _require_its_adapter(laplace: Laplace, asked: Mapping[str, Any]) -> None:
    options = {"r": "--rank", "lora_alpha": "--alpha", "target_modules": "--target-modules"}
    for key, value in asked.items():
        own = laplace.provenance.lora.get(key)
        if value is not None and value != own:
            brings = f"its own adapter, with {key}={own}" if own is not None else "the modules of its own adapter"
            raise LaloraError(
                f"{options[key]} does not go with this Laplace, which brings {brings}: leave it out, or fit another one"
            )


def evaluate_adapter(
    model: str, dtype: str, adapter: Path, domains: Mapping[str, str], say: Say, **sizes: int
) -> tuple[Row, Row]:
    """Measure an adapter against its base.

    Args:
        model: An embedded name, a local folder or a hub id.
        dtype: Of the frozen weights, as in recipes.
        adapter: Folder in PEFT's format.
        domains: Place by domain.
        say: Tells the user what goes on.
        **sizes: Row counts and batch sizes, as in `EvalSet.prepare`.

    Returns:
        The metrics of the base and of the model with the adapter.
    """
    kind = resolve_dtype(dtype)
    adapter_settings(adapter)
    say(f"loading {model} and the data")
    base = load_model(model, kind)
    tokenizer = load_tokenizer(model)
    limit_to_context(tokenizer, base.config)
    with tempfile.TemporaryDirectory() as folder:
        evalset = EvalSet.prepare(load_all(domains), tokenizer, Path(folder), **sizes)
        plain = with_adapter(base, RunSettings(steps=1, rank=1))
        say("measuring the base model")
        before = measure(plain, tokenizer, evalset, 0, accuracy=True)
        tuned = load_adapter(plain.unload(), adapter, model).to(device())
        untouched = None if why_not_base(tuned) is None else load_model(model, kind).to(device())  # type: ignore[arg-type]
        say("measuring the adapter")
        return before, measure(tuned, tokenizer, evalset, 0, accuracy=True, base=untouched)


def _bench(
    study: StudySettings, plan: RunPlan, given: Laplace | None, content: str | None, out: Path, say: Say
) -> _GivenBench:
    # Nothing is written before everything that can be refused was looked at.
    say(f"loading {study.model} and the data")
    base = load_base(study)
    known = facts(base, study.dtype) | {"laplace": content}
    if processes.count() > 1:
        known["processes"] = processes.count()
    material = prepare(study, load_words(study), base.config)
    common = common_identity(study, material, **known)
    require_same_run(out, run_identity(common, plan))
    model = _start(base, given, plan.settings)
    if given:
        given.check(model)
    require_room_for_runs(out, model, 1)
    shared = out / "shared"
    if processes.is_main():
        evalset = evaluation_set(study, material.domains, material.tokenizer, fresh_folder(), study.scored_rows)
    else:
        evalset = EvalSet({}, {}, shared, 1, 1)  # the main process alone measures
    return _GivenBench(study, material, evalset, None, common, shared, say, given)


def _start(base: Any, given: Laplace | None, settings: RunSettings) -> PeftModel:
    return with_adapter(base, settings) if given is None or given.of_base else at_mean(base, given)


def at_mean(base: Any, laplace: Laplace) -> PeftModel:
    """Give a model the adapter that a Laplace was fitted on.

    Args:
        base: The model.
        laplace: The Laplace.

    Returns:
        A PEFT model at μ, on the device.
    """
    known = {key: value for key, value in laplace.provenance.lora.items() if value is not None}
    lora = without_patterns(known, [name for name, _ in base.named_modules()], "this Laplace")
    suffix = ".lora_A.weight"
    layers = [name_in_base(name).removesuffix(suffix) for name in laplace.shapes if name.endswith(suffix)]
    # PEFT wraps the modules that hold adapted parameters by itself, one wrapper around the other.
    holders = tuple(name.rpartition(".")[0] for name in lora.get("target_parameters") or ())
    modules = [name for name in layers if not name.removesuffix(".base_layer").endswith(holders)]
    model = adapted(base, LoraConfig(target_modules=modules, task_type="CAUSAL_LM", **lora), seed=0)
    laplace.restore_mean(model)
    return model


def _content(folder: Path | None) -> str | None:
    return hashlib.sha256((folder / "laplace.json").read_bytes()).hexdigest() if folder else None


_COMMAND_LINE = Marked({}, {(): "command line"})
