"""One fine-tuning, from where a killed one left off if there was one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftModel
from tqdm import tqdm
from transformers import PrinterCallback, TrainingArguments

from lalora import processes
from lalora.domains import collate
from lalora.files import write_atomically
from lalora.laplace import Laplace
from lalora.methods import InTurn
from lalora.softening import scaled
from lalora.study import checkpoints
from lalora.study.bench import Bench
from lalora.study.costing import COSTS, costs
from lalora.study.done import ADAPTER, METRICS, TIMING, is_done, mark_done
from lalora.study.folder import saving
from lalora.study.forecasting import forecasters, forecasts
from lalora.study.identity import CONFIG, key
from lalora.study.plan import RunPlan
from lalora.study.prepared import prepared
from lalora.study.records import append_row, cut_back, read_json, read_rows, write_json
from lalora.study.settings import RunSettings
from lalora.study.softened import measure_softened
from lalora.study.start import changes_nothing
from lalora.study.trainer import Recorder, StudyTrainer

CHECKPOINTS = "checkpoints"
_CHECKPOINTS_A_RUN = 10


def train_run(
    plan: RunPlan, bench: Bench, folder: Path, progress: str, kept: Callable[[], None] = lambda: None
) -> None:
    """Do a run and keep it; a finished one is not done again.

    Killed at any moment and called again, it ends with the very same files as if it had not been killed.
    """
    identity = bench.identity(plan)
    if is_done(folder, key(identity)):
        # A kill between the last two lines below leaves them.
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        return
    settings = plan.settings
    found = checkpoints.newest_complete(folder / CHECKPOINTS)
    step = found[0] if found else -1
    with processes.together():
        if processes.is_main():
            _clear(folder, found, {"key": key(identity), "identity": identity, "settings": plan.effective})
    if bench.study.timed_steps and read_json(folder / COSTS) is None:
        bench.say(f"{progress}: timing the parts of its steps")
        write_json(folder / COSTS, costs(plan, bench))

    model = bench.start(settings)
    methods = prepared(model, plan, bench)
    laplaces = {} if methods.own_start else forecasters(bench, model, settings)
    with processes.together():
        if step < 0 and processes.is_main():
            row = bench.base if changes_nothing(model) else bench.measure(model, 0, accuracy=True)
            append_row(folder / METRICS, row | forecasts(laplaces, model))
    _train(model, methods, laplaces, plan, bench, folder, found[1] if found else None, progress, kept)
    with processes.together():
        if processes.is_main():
            _finish(model, methods, laplaces, plan, bench, folder, progress)


def _clear(folder: Path, checkpoint: tuple[int, Path] | None, config: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    if read_json(folder / CONFIG) is None:
        write_json(folder / CONFIG, config)
    checkpoints.drop_others(folder / CHECKPOINTS, checkpoint[1] if checkpoint else None)
    for file in (METRICS, TIMING):
        cut_back(folder / file, checkpoint[0] if checkpoint else -1)


def _finish(
    model: PeftModel,
    methods: InTurn,
    laplaces: dict[str, Laplace],
    plan: RunPlan,
    bench: Bench,
    folder: Path,
    progress: str,
) -> None:
    settings = plan.settings
    if not any(row["kind"] == "eval" and row["step"] == settings.steps for row in read_rows(folder / METRICS)):
        bench.say(f"{progress}: measuring the result")
        row = bench.measure(model, settings.steps, accuracy=True)
        append_row(folder / METRICS, row | forecasts(laplaces, model))
    if bench.validation and not any(row["kind"] == "validation" for row in read_rows(folder / METRICS)):
        append_row(folder / METRICS, bench.validate(model, settings.steps))
    _scale(model, bench, folder / METRICS, settings.steps, progress)
    with saving(folder):
        _keep_adapter(methods, model, folder)
    measure_softened(plan, bench, folder, progress)
    mark_done(folder, key(bench.identity(plan)))
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _train(
    model: PeftModel,
    methods: InTurn,
    laplaces: dict[str, Laplace],
    plan: RunPlan,
    bench: Bench,
    folder: Path,
    checkpoint: Path | None,
    progress: str,
    kept: Callable[[], None],
) -> None:
    settings = plan.settings
    metrics = folder / METRICS

    def measure(step: int) -> None:
        bar.set_postfix_str("measuring")
        accuracy = step in bench.study.accuracy_at
        append_row(metrics, bench.measure(model, step, accuracy) | forecasts(laplaces, model))

    def advance(step: int, loss: float) -> None:
        bar.update(step - bar.n)
        bar.set_postfix(loss=f"{loss:.3f}")

    inner = frozenset([*bench.study.evaluate_at, *bench.study.accuracy_at]) - {settings.steps}
    recorder = Recorder(metrics, folder / TIMING, inner, measure, advance, kept)
    pad = bench.material.pad
    trainer = StudyTrainer(
        methods=methods,
        run=plan.label,
        model=model,
        args=_arguments(settings, folder, model),
        train_dataset=methods.training_rows(bench.material.training_items(settings), settings.seed),
        data_collator=lambda items: collate(items, pad),
        callbacks=[recorder] if processes.is_main() else [],
    )
    trainer.remove_callback(PrinterCallback)
    done = len([row for row in read_rows(metrics) if row["kind"] == "train"])
    with tqdm(total=settings.steps, initial=done, desc=progress, unit="step") as bar:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _scale(model: PeftModel, bench: Bench, metrics: Path, step: int, progress: str) -> None:
    done = {row["alpha"] for row in read_rows(metrics) if row["kind"] == "scale"}
    for alpha in dict.fromkeys(bench.study.scales):
        if alpha not in done:
            bench.say(f"{progress}: measuring the adapter times {alpha:g}")
            with scaled(model, alpha):
                row = bench.measure(model, step, accuracy=False)
            append_row(metrics, row | {"kind": "scale", "alpha": alpha})


def _arguments(settings: RunSettings, folder: Path, model: PeftModel) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
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
    partial = folder / ".adapter"
    shutil.rmtree(partial, ignore_errors=True)
    methods.save_adapter(model, partial)
    # Not moved: safetensors makes files that their owner alone may read.
    write_atomically(folder / ADAPTER, (partial / ADAPTER).read_bytes())
    config = read_json(partial / "adapter_config.json")
    if isinstance(config["target_modules"], list):
        # PEFT keeps them as a set, whose order changes from process to process.
        config["target_modules"].sort()
    write_json(folder / "adapter_config.json", config)
    shutil.rmtree(partial)
