"""Learn tasks one after the other, each with a new adapter that is merged in, and keep the base and the earlier tasks.

Run it with `python examples/three_tasks.py --task gsm8k --task code=code.jsonl --source winogrande --held-out lambada
--way soften --out runs/soften`. A text is an embedded data set, or NAME=FILE with one object of `prompt` and
`completion` a line. After each task the loss of every task and KL(base ‖ model) are measured on rows that nothing was
fitted on (`results.json`). Killed at any moment and started again, it ends with the same bits.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from texts import Item, Text, text
from torch import Tensor
from transformers import TrainingArguments, set_seed

import lalora
from lalora import LaloraError
from lalora.assets import load_model, load_tokenizer
from lalora.files import json_bytes, whole_folder, write_json
from lalora.methods import KL, LaLoRA, Lora, Method, Replay
from lalora.scoring import score_loss
from lalora.softening import HeldOut
from lalora.text import batches, collate

WAYS = {
    "plain": "the loss of the task alone",
    "soften": "each adapter is softened before it is merged, all curvatures fitted anew on kept rows",
    "soften-files": "the same without old rows: the curvature of each task is kept as it was fitted",
    "replay": "a quarter of the rows are source rows and rows of earlier tasks",
    "kl": "KL to the model before the task, on source rows and rows of earlier tasks",
    "lalora": "the penalty of LaLoRA, the curvature added up over tasks",
    "kl+soften": "kl while training, soften afterwards",
}
HOLD = {"replay": 0.25, "kl": 1.0, "kl+soften": 1.0, "lalora": 30.0}
OF_SOFTENING = ("strength", "budget", "give_up")
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
KIND = {"curvature": "weight-kfac", "target_modules": "all-linear"}
Batch = dict[str, Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    try:
        Run(options).do()
    except LaloraError as error:
        sys.exit(f"three_tasks: {error}")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add, place = parser.add_argument, "NAME[=FILE]"
    add("--model", default="smollm2-135m", help="embedded name, folder or hub id")
    add("--task", action="append", required=True, metavar=place, help="what is learned, in this order")
    add("--source", action="append", required=True, metavar=place, help="what the base should keep")
    add("--held-out", action="append", default=[], metavar=place, help="measured, never fitted")
    add("--way", choices=WAYS, default="soften", help="; ".join(f"{way}: {words}" for way, words in WAYS.items()))
    add("--hold", type=float, help="λ of kl (default 1) and of lalora (30), share of replay (0.25)")
    add("--strength", type=float, default=1.0, help="λ of softening")
    add("--budget", type=float, help="instead of it: most KL(base ‖ model) on the sources at the end")
    add("--give-up", type=float, help="most loss that a task may cost an earlier one: λ of softening is raised for it")
    add("--rows", type=int, default=32, help="of each source and earlier task: fitted, replayed, rehearsed")
    add("--scored-rows", type=int, default=32, help="of each text: measured; as many to choose λ on")
    add("--max-length", type=int, default=160, help="longer rows are left out")
    add("--factor-rank", type=int, default=256, help="of the curvatures of sources and earlier tasks")
    add("--steps", type=int, default=40)
    add("--batch-size", type=int, default=4)
    add("--learning-rate", type=float, default=2e-3)
    add("--rank", type=int, default=16)
    add("--seed", type=int, default=0)
    add("--out", type=Path, required=True, help="a folder; what is in it already is not done again")
    options = parser.parse_args(arguments)
    used = (["hold"] if options.way in HOLD else []) + ([*OF_SOFTENING] if "soften" in options.way else [])
    for name in ("hold", *OF_SOFTENING):
        if name not in used and getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} changes nothing with --way {options.way}: leave it out")
    return options


class Run:
    """A sequence of tasks; each has a folder, whose parts appear whole or not at all."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        require_same_options(options)
        self.tokenizer = load_tokenizer(options.model)
        read = partial(text, tokenizer=self.tokenizer, scored=options.scored_rows, longest=options.max_length)
        self.tasks, self.sources = ([read(spec) for spec in specs] for specs in (options.task, options.source))
        self.held_out = [read(spec, learned=False) for spec in options.held_out]
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.model: Any = load_model(options.model, torch.float32).to(device or "cpu")  # merging rounds
        self.base = copy.deepcopy(self.model)
        seen = {one.name: self.batches(one.scored) for one in (*self.sources, *self.held_out)}
        self.drift = HeldOut(self.model, seen, base=self.base)
        self.to_choose = {one.name: self.batches(one.choosing) for one in self.sources}

    def do(self) -> None:
        stages = [{"after": None, **self.kept(self.out / "base.json", self.measured)}]
        for number, task in enumerate(self.tasks):
            folder = self.out / f"{number + 1}-{task.name}"
            folder.mkdir(exist_ok=True)
            if not (folder / "trained").exists():
                self.train(number, folder)
            softens, chosen = "soften" in self.options.way, {}
            if softens:
                chosen = self.kept(folder / "choice.json", partial(self.soften, number, folder))
            final = folder / ("softened" if softens else "trained")
            PeftModel.from_pretrained(self.model, str(final)).merge_and_unload()
            stages.append({"after": task.name, **chosen, **self.kept(folder / "measured.json", self.measured)})
            print(stages[-1], flush=True)
        names = {role: [one.name for one in getattr(self, role)] for role in ("tasks", "sources", "held_out")}
        write_json(self.out / "results.json", {"settings": asked(self.options), **names, "stages": stages})

    def train(self, number: int, folder: Path) -> None:
        options, task = self.options, self.tasks[number]
        known = self.known_from_files(number, folder) if options.way == "lalora" else None
        set_seed(options.seed + number)
        adapter = {"r": options.rank, "lora_alpha": 2 * options.rank, "target_modules": KIND["target_modules"]}
        tuned = get_peft_model(self.model, LoraConfig(task_type="CAUSAL_LM", **adapter))
        trainer = lalora.MethodTrainer(
            methods=[self.method(known)],
            sources=self.rows_to_keep(number) if options.way.startswith(("kl", "replay")) else {},
            model=tuned,
            args=training_arguments(options, folder / "checkpoints"),
            train_dataset=self.laid(task, options.steps * options.batch_size),
            data_collator=partial(collate, pad_token_id=self.tokenizer.pad_token_id),
        )
        trainer.train(resume_from_checkpoint=newest_checkpoint(folder / "checkpoints"))
        with whole_folder(folder / "trained") as partial_folder:
            tuned.save_pretrained(str(partial_folder))
        shutil.rmtree(folder / "checkpoints")
        tuned.unload()

    def method(self, known: lalora.Laplace | None) -> Method:
        way = self.options.way
        hold = HOLD.get(way, 0.0) if self.options.hold is None else self.options.hold
        if way == "lalora":
            return LaLoRA(hold, laplace=known)
        if way == "replay":
            return Replay(hold)
        return KL(hold, every=4) if way.startswith("kl") else Lora()

    def soften(self, number: int, folder: Path) -> dict[str, Any]:
        files = self.options.way == "soften-files"
        known = self.known_from_files(number, folder) if files else self.known_from_rows(number)
        shutil.rmtree(folder / "softened", ignore_errors=True)
        tuned = PeftModel.from_pretrained(self.model, str(folder / "trained"))
        front = lalora.soften(tuned, self.some(self.tasks[number]), known, seed=self.options.seed)
        choice = self.choice(front, tuned, number)
        front.save(folder / "softened", choice["strength"])
        tuned.unload()
        return choice

    def choice(self, front: lalora.Front, tuned: PeftModel, number: int) -> dict[str, Any]:
        """λ; with a budget, task k of n may use k/n of the drift from the base, whatever earlier tasks used."""
        options, strength, met = self.options, self.options.strength, True
        if options.budget is not None:
            share = options.budget * (number + 1) / len(self.tasks)
            found = front.within(drift=share, batches=self.to_choose, base=self.base)
            strength, met = found.strength, found.met
        for higher in (strength, *(one for one in STRENGTHS if one > strength)):
            if options.give_up is None or self.most_given_up(front, tuned, number, higher) <= options.give_up:
                return {"strength": higher, "met": met}
        return {"strength": higher, "met": False}

    def most_given_up(self, front: lalora.Front, tuned: PeftModel, number: int, strength: float) -> float:
        """Largest rise of the loss of an earlier task by this one."""
        earlier = [self.batches(task.choosing) for task in self.tasks[:number]]
        with tuned.disable_adapter():
            before = [score_loss(tuned, rows) for rows in earlier]
        front.apply(tuned, strength)
        return max((score_loss(tuned, rows) - loss for rows, loss in zip(earlier, before, strict=True)), default=0.0)

    def known_from_rows(self, number: int) -> lalora.Laplace:
        """The curvature of the base's sources and of every earlier task, around the model as it is now."""
        known = self.fit({one.name: self.some(one) for one in self.sources})
        for task in self.tasks[:number]:
            known += self.fit({task.name: self.some(task)})
        return known

    def known_from_files(self, number: int, folder: Path) -> lalora.Laplace:
        """The same from the file of the task before and the rows of that task alone."""
        if not (folder / "known").exists():
            if number == 0:
                known = self.fit({one.name: self.some(one) for one in self.sources})
            else:
                task = self.tasks[number - 1]
                before = lalora.Laplace.load(self.out / f"{number}-{task.name}" / "known")
                own = self.fit({task.name: self.some(task)})
                known = before.moved_to(self.model) + own
            with whole_folder(folder / "known") as partial_folder:
                known.save(partial_folder)
        return lalora.Laplace.load(folder / "known")

    def fit(self, sources: Mapping[str, list[Batch]]) -> lalora.Laplace:
        options = self.options
        return lalora.fit(self.model, sources, factor_rank=options.factor_rank, seed=options.seed, **KIND)

    def rows_to_keep(self, number: int) -> dict[str, list[Batch]]:
        return {one.name: self.some(one) for one in (*self.sources, *self.tasks[:number])}

    def some(self, one: Text) -> list[Batch]:
        """The rows of a text that are fitted, replayed and rehearsed; of a task, among those that were learned."""
        return self.batches(self.laid(one, min(self.options.rows, len(one.train))))

    def laid(self, one: Text, count: int) -> list[Item]:
        """The first rows in the order of this seed, again and again where there are too few."""
        draw, rows = random.Random(f"{one.name} {self.options.seed}"), list[Item]()
        while len(rows) < count:
            rows += draw.sample(one.train, len(one.train))
        return rows[:count]

    def batches(self, items: list[Item]) -> list[Batch]:
        return batches(items, 8, self.tokenizer.pad_token_id)

    def measured(self) -> dict[str, Any]:
        loss = {task.name: score_loss(self.model, self.batches(task.scored)) for task in self.tasks}
        return {"loss": loss, "kl": {name: rows.mean_kl for name, rows in self.drift.measure().sources.items()}}

    @staticmethod
    def kept(file: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is in a file already, or else what the work gives."""
        if not file.exists():
            write_json(file, work())
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def training_arguments(options: argparse.Namespace, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        train_sampling_strategy="sequential",
        save_steps=max(1, options.steps // 4),
        save_total_limit=1,
        logging_steps=max(1, options.steps // 4),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not torch.accelerator.is_available(),
    )


def newest_checkpoint(folder: Path) -> str | None:
    """Find the newest checkpoint whose last file is there; a half one is deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        try:
            json.loads((path / "trainer_state.json").read_text())
            return str(path)
        except (OSError, ValueError):
            shutil.rmtree(path)
    return None


def asked(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name != "out"}


def require_same_options(options: argparse.Namespace) -> None:
    """Refuse to go on in a folder that was begun with other options."""
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "options.json"
    if file.exists() and file.read_bytes() != json_bytes(asked(options)):
        raise LaloraError(f"{options.out} was begun with other options ({file}): choose another --out")
    write_json(file, asked(options))


if __name__ == "__main__":
    main()
