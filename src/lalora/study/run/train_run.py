"""One fine-tuning, from where a killed one left off if there was one."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PrinterCallback, TrainingArguments

from lalora import processes
from lalora.evaluation import KeptBase
from lalora.files import write_atomically, write_json
from lalora.laplace import Laplace
from lalora.methods import InTurn
from lalora.posthoc import Rewind, kept_steps
from lalora.progress import progress_bar
from lalora.softening import scaled
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.settings import RunSettings
from lalora.study.run.after_training import measure_after_training
from lalora.study.run.costing import COSTS, costs
from lalora.study.run.forecasting import forecasters, forecasts
from lalora.study.run.kept_adapter import rewound
from lalora.study.run.prepared import prepared
from lalora.study.run.trainer import Recorder, StudyTrainer
from lalora.study.setup.context import Context
from lalora.study.setup.start import changes_nothing
from lalora.study.store import checkpoints
from lalora.study.store.finished import ADAPTER, AFTER, METRICS, TIMING, is_done, mark_done
from lalora.study.store.folder import saving
from lalora.study.store.identity import CONFIG, key
from lalora.study.store.records import append_row, cut_back, read_json, read_rows
from lalora.text import collate
from lalora.training import TRAINED

CHECKPOINTS = "checkpoints"
_CHECKPOINTS_A_RUN = 10


@dataclass(frozen=True)
class Run:
    """One fine-tuning on its way: what is wanted, what it shares, where it is kept, what it is called beside a bar."""

    plan: RunPlan
    context: Context
    folder: Path
    title: str
    kept: Callable[[], None]
    """Called when a checkpoint is complete."""

    @property
    def metrics(self) -> Path:
        """Where everything that is measured is written down."""
        return self.folder / METRICS

    @property
    def checkpoints(self) -> Path:
        """Where a run that is not done is kept."""
        return self.folder / CHECKPOINTS

    def has(self, kind: str, **values: object) -> bool:
        """Tell whether a row of that kind, with these values, was written already."""
        wanted = {"kind": kind, **values}
        return any(all(row.get(name) == value for name, value in wanted.items()) for row in read_rows(self.metrics))


def train_run(
    plan: RunPlan, context: Context, folder: Path, title: str, kept: Callable[[], None] = lambda: None
) -> None:
    """Do a run and keep it; a finished one is not done again.

    Killed at any moment and called again, it ends with the very same files as if it had not been killed.
    """
    run = Run(plan, context, folder, title, kept)
    identity = context.identity(plan)
    if is_done(folder, key(identity)):
        # A kill between the last two lines of `_finish` leaves them.
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        return
    found = checkpoints.newest_complete(run.checkpoints)
    with processes.on_all_ranks():
        if processes.is_main():
            _clear(run, found, {"key": key(identity), "identity": identity, "settings": plan.effective})
    if context.study.timed_steps and read_json(folder / COSTS) is None:
        context.say(f"{title}: timing the parts of its steps")
        write_json(folder / COSTS, costs(plan, context))

    model = context.start(plan.settings)
    methods = prepared(model, plan, context)
    laplaces = {} if methods.own_start else forecasters(context, model, plan.settings)
    with processes.on_all_ranks():
        if found is None and processes.is_main():
            row = context.base if changes_nothing(model) else context.measure(model, 0, accuracy=True)
            append_row(run.metrics, row | forecasts(laplaces, model))
    _train(run, model, methods, laplaces, found[1] if found else None)
    with processes.on_all_ranks():
        if processes.is_main():
            _finish(run, model, methods, laplaces)


def _clear(run: Run, checkpoint: tuple[int, Path] | None, config: dict[str, Any]) -> None:
    run.folder.mkdir(exist_ok=True)
    if read_json(run.folder / CONFIG) is None:
        write_json(run.folder / CONFIG, config)
    checkpoints.drop_others(run.checkpoints, checkpoint[1] if checkpoint else None)
    for file in (METRICS, TIMING, AFTER):
        cut_back(run.folder / file, checkpoint[0] if checkpoint else -1)


def _train(run: Run, model: PeftModel, methods: InTurn, laplaces: dict[str, Laplace], checkpoint: Path | None) -> None:
    settings, context = run.plan.settings, run.context

    def measure(step: int) -> None:
        bar.set_postfix_str("measuring")
        accuracy = step in context.study.accuracy_at
        append_row(run.metrics, context.measure(model, step, accuracy) | forecasts(laplaces, model))

    def advance(step: int, loss: float) -> None:
        bar.update(step - bar.n)
        bar.set_postfix(loss=f"{loss:.3f}")

    def keep(step: int) -> None:
        with saving(run.folder):
            run.checkpoints.mkdir(exist_ok=True)
            write_atomically(rewound(run.checkpoints, step), _adapters(methods, model, run.folder)[""][0])

    kept = kept_steps(context.study.after.get(Rewind.name, ()), settings.steps)
    inner = frozenset([*context.study.evaluate_at, *context.study.accuracy_at]) - {settings.steps}
    recorder = Recorder(run.metrics, run.folder / TIMING, [(inner, measure), (kept, keep)], advance, run.kept)
    pad = context.data.pad
    trainer = StudyTrainer(
        methods=methods,
        run=run.plan.label,
        model=model,
        before_softening=lambda: _measure_trained(run, model),
        **_budget(run, model),
        args=_arguments(settings, run.checkpoints, model),
        train_dataset=methods.training_rows(context.data.training_items(settings), settings.seed),
        data_collator=lambda items: collate(items, pad),
        callbacks=[recorder] if processes.is_main() else [],
    )
    trainer.remove_callback(PrinterCallback)
    done = len([row for row in read_rows(run.metrics) if row["kind"] == "train"])
    with progress_bar(run.title, "step", total=settings.steps, initial=done) as bar:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _budget(run: Run, model: PeftModel) -> dict[str, Any]:
    settings, context = run.plan.settings, run.context
    if settings.budget is None:
        return {}
    softens = settings.softens
    return {
        "budget": settings.budget,
        "budget_batches": context.data.budget_batches(settings),
        "budget_by": settings.budget_by,
        "budget_every": settings.budget_every,
        "budget_target": context.data.target_batches(settings, context.study.soften_rows) if softens else None,
        "sources": context.source_batches(model, settings) if softens else (),
    }


def _measure_trained(run: Run, model: PeftModel) -> None:
    with processes.on_all_ranks():
        if processes.is_main() and run.plan.settings.softens and not run.has("trained"):
            run.context.say(f"{run.title}: measuring it as trained")
            row = run.context.measure(model, run.plan.settings.steps, accuracy=False)
            append_row(run.metrics, row | {"kind": "trained"})


def _finish(run: Run, model: PeftModel, methods: InTurn, laplaces: dict[str, Laplace]) -> None:
    context, steps = run.context, run.plan.settings.steps
    # Kept in memory where another version of the model is measured, and nowhere else.
    base = KeptBase(model, context.evalset.drifting) if context.study.scales else None
    # A run killed between any two of these goes on after the last that was written.
    if not run.has("eval", step=steps):
        context.say(f"{run.title}: measuring the result")
        append_row(run.metrics, context.measure(model, steps, accuracy=True, kept=base) | forecasts(laplaces, model))
    if context.validation and not run.has("validation"):
        append_row(run.metrics, context.validate(model, steps))
    _scale(run, model, base)
    with saving(run.folder):
        _keep_adapter(methods, model, run.folder)
    measure_after_training(run.plan, context, run.folder, run.checkpoints, run.title)
    mark_done(run.folder, key(context.identity(run.plan)))
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _scale(run: Run, model: PeftModel, base: KeptBase | None) -> None:
    for alpha in dict.fromkeys(run.context.study.scales):
        if not run.has("scale", alpha=alpha):
            run.context.say(f"{run.title}: measuring the adapter times {alpha:g}")
            with scaled(model, alpha):
                row = run.context.measure(model, run.plan.settings.steps, accuracy=False, kept=base)
            append_row(run.metrics, row | {"kind": "scale", "alpha": alpha})


def _arguments(settings: RunSettings, output: Path, model: PeftModel) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        # The rows are laid out in order already, so that every method sees the same ones.
        train_sampling_strategy="sequential",
        seed=settings.seed,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, settings.steps // _CHECKPOINTS_A_RUN),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=model.device.type == "cpu",
        dataloader_pin_memory=model.device.type == "cuda",
    )
    # A run belongs to one device; with several the Trainer would split each batch between them.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _keep_adapter(methods: InTurn, model: PeftModel, folder: Path) -> None:
    for part, (weights, config) in _adapters(methods, model, folder).items():
        (folder / part).mkdir(exist_ok=True)
        # Not moved: safetensors makes files that their owner alone may read.
        write_atomically(folder / part / ADAPTER, weights)
        write_json(folder / part / "adapter_config.json", config)


def _adapters(methods: InTurn, model: PeftModel, folder: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Write the adapter, and beside one that was softened to a budget the trained one, as bytes and configuration."""
    partial = folder / ".adapter"
    shutil.rmtree(partial, ignore_errors=True)
    methods.save_adapter(model, partial)
    found = {}
    for part in ("", TRAINED) if (partial / TRAINED).is_dir() else ("",):
        config = read_json(partial / part / "adapter_config.json")
        if isinstance(config["target_modules"], list):
            # PEFT keeps them as a set, whose order changes from process to process.
            config["target_modules"].sort()
        found[part] = (partial / part / ADAPTER).read_bytes(), config
    shutil.rmtree(partial)
    return found
