"""One fine-tuning, held to a Laplace that the user brought or plain."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peft import PeftModel

from lalora import processes
from lalora.errors import LaloraError
from lalora.evaluation import EvalSet, KeptBase
from lalora.laplace import Laplace, laplace_folder
from lalora.marked_yaml import COMMAND_LINE
from lalora.methods import LaLoRA
from lalora.scoring import interval
from lalora.study.recipe.plan import RunPlan, single, validated
from lalora.study.recipe.settings import RunSettings, StudySettings
from lalora.study.run.train_run import train_run
from lalora.study.setup.base_model import load_base, load_words
from lalora.study.setup.context import Context, Say, common_identity, run_identity
from lalora.study.setup.data import evaluation_set, limit_to_context, prepare
from lalora.study.setup.facts import facts
from lalora.study.setup.start import at_mean, with_adapter
from lalora.study.single.sources_again import found_again
from lalora.study.store.finished import METRICS
from lalora.study.store.folder import fresh_folder, held_for_all, require_room_for_runs
from lalora.study.store.identity import require_same_run
from lalora.study.store.records import Row, read_rows


@dataclass(frozen=True)
class Trained:
    """What was measured before and after a fine-tuning, and where it was softened to a budget, how far."""

    before: Row
    after: Row
    softened: Row | None


@dataclass(frozen=True)
class _GivenContext(Context):
    """A context whose runs start from a Laplace that the user brought."""

    given: Laplace | None

    def start(self, settings: RunSettings) -> PeftModel:
        """Make the model at its start: at μ if there is a Laplace."""
        return _start(load_base(self.study), self.given, settings)

    def laplace(
        self, model: PeftModel, settings: RunSettings, method: LaLoRA, start: dict[str, Any] | None = None
    ) -> Laplace:
        """Return what the user brought."""
        return super().laplace(model, settings, method, start) if self.given is None else self.given

    def measure(self, model: PeftModel, step: int, accuracy: bool, kept: KeptBase | None = None) -> Row:
        """Measure a model, with the interval of its drift."""
        if not step or not self.evalset.drifting:
            return super().measure(model, step, accuracy, kept)
        kept = kept or KeptBase(model, self.evalset.drifting)
        row = super().measure(model, step, accuracy, kept)
        counts = {name: {"rows": len(one.tokens), "tokens": int(one.tokens.sum())} for name, one in kept.rows.items()}
        return row | {"source_drift": vars(interval(kept.rows)), "measured": counts}


def train_adapter(
    study: Mapping[str, Any],
    settings: Mapping[str, Any],
    laplace: str | None,
    out: Path,
    say: Say,
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> Trained:
    """Fine-tune once and keep the adapter."""
    with processes.on_all_ranks():
        common: StudySettings = validated(StudySettings, study, (), COMMAND_LINE)
        # A wrong option is named before a Laplace is fetched.
        plan = single(out.name, "LoRA", settings, COMMAND_LINE)
        folder = laplace_folder(laplace) if laplace else None
        given = Laplace.load(folder) if folder else None
        if given is not None and not given.of_base:
            _require_its_adapter(given, asked)
        if given is not None:
            measured = {"strength": given.strength, "curvature": given.provenance.fit.curvature}
            plan = single(out.name, "LoRA", {**measured, **settings}, COMMAND_LINE)
            plan = replace(plan, label=f"{LaLoRA.label} λ={plan.methods[0].options['strength']:g}")
    with held_for_all(out):
        with processes.on_all_ranks():
            context = _context(common, plan, given, _content(folder), out, say)
        train_run(plan, context, out, plan.label)
    told = read_rows(out / METRICS)
    evals = [row for row in told if row["kind"] == "eval"]
    return Trained(evals[0], evals[-1], next((row for row in told if row["kind"] == "budget"), None))


def _require_its_adapter(laplace: Laplace, asked: Mapping[str, Any]) -> None:
    options = {"r": "--rank", "lora_alpha": "--alpha", "target_modules": "--target-modules"}
    for key, value in asked.items():
        own = laplace.provenance.lora.get(key)
        if value is not None and value != own:
            brings = f"its own adapter, with {key}={own}" if own is not None else "the modules of its own adapter"
            raise LaloraError(
                f"{options[key]} does not go with this Laplace, which brings {brings}: leave it out, or fit another one"
            )


def _context(
    study: StudySettings, plan: RunPlan, given: Laplace | None, content: str | None, out: Path, say: Say
) -> _GivenContext:
    # Nothing is written before everything that can be refused was looked at.
    say(f"loading {study.model} and the data")
    base = load_base(study)
    known = facts(base, study.dtype) | {"laplace": content}
    if processes.world_size() > 1:
        known["processes"] = processes.world_size()
    words = load_words(study)
    limit_to_context(words, base.config)
    if given and not study.sources:
        study = study.model_copy(update={"sources": found_again(given, words)})
    study_data = prepare(study, words, base.config)
    common = common_identity(study, study_data, **known)
    require_same_run(out, run_identity(common, study, plan))
    model = _start(base, given, plan.settings)
    if given:
        given.check(model)
    require_room_for_runs(out, model, 1)
    shared = out / "shared"
    if processes.is_main():
        evalset = evaluation_set(study, study_data.domains, study_data.tokenizer, fresh_folder(), study.scored_rows)
    else:
        evalset = EvalSet({}, {}, shared, 1, 1)  # the main process alone measures
    return _GivenContext(study, study_data, evalset, None, common, shared, say, given)


def _start(base: Any, given: Laplace | None, settings: RunSettings) -> PeftModel:
    return with_adapter(base, settings) if given is None or given.of_base else at_mean(base, given)


def _content(folder: Path | None) -> str | None:
    return hashlib.sha256((folder / "laplace.json").read_bytes()).hexdigest() if folder else None
