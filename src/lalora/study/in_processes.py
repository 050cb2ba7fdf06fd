"""Several runs at once on one machine, each in a process of its own."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from lalora.errors import LaloraError
from lalora.study.bench import Bench, Say
from lalora.study.conduct import Outcome
from lalora.study.identity import key
from lalora.study.opening import open_bench
from lalora.study.plan import RunPlan
from lalora.study.recipe import Recipe
from lalora.study.train_run import is_done, train_run

_MOST_DEATHS = 3


@dataclass(frozen=True)
class InProcesses:
    """Does runs in worker processes, which share the cores.

    A worker that dies takes its run with it, which goes on from its last checkpoint in a new one. A study whose workers
    die again and again without finishing anything is given up.

    Attributes:
        workers: How many runs go on at once.
        say: Tells the user what goes on.
    """

    workers: int
    say: Say

    def __call__(self, recipe: Recipe, plans: list[RunPlan], bench: Bench, folder: Path) -> Iterator[Outcome]:
        """Do the runs.

        Args:
            recipe: The study.
            plans: Its runs that are not done.
            bench: What they share; the base model is measured before they begin.
            folder: Of the study.

        Yields:
            Each run as it ends, with the error if it failed.

        Raises:
            LaloraError: If workers die again and again.
        """
        _ = bench.base
        threads = max(1, torch.get_num_threads() // self.workers)
        left, deaths = list(plans), 0
        while left:
            before = len(left)
            try:
                for plan, error in self._pooled(recipe, left, folder, threads):
                    left.remove(plan)
                    self.say(f"{plan.label}: {'failed' if error else 'finished'}, {len(left)} to go")
                    yield plan, error
            except BrokenProcessPool:
                # A run may have ended right before its worker died.
                deaths = deaths + 1 if len(left) == before else 1
                if deaths >= _MOST_DEATHS:
                    raise LaloraError(
                        f"workers died {deaths} times without finishing a run, most likely for want of memory: use "
                        "fewer --workers; what was reached is kept"
                    ) from None
                self.say("a worker died; its run goes on from its last checkpoint")
                for plan in [plan for plan in left if is_done(folder / plan.name, key(bench.identity(plan)))]:
                    left.remove(plan)
                    yield plan, None

    def _pooled(self, recipe: Recipe, plans: list[RunPlan], folder: Path, threads: int) -> Iterator[Outcome]:
        pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), settle, (threads,))
        waiting: dict[Future[LaloraError | None], RunPlan] = {}
        try:
            waiting = {pool.submit(do, recipe, folder, plan.name): plan for plan in plans}
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    error = future.result()
                    yield waiting.pop(future), error
        finally:
            pool.shutdown(wait=not waiting, cancel_futures=True)
            if waiting:
                for child in multiprocessing.active_children():
                    child.terminate()


def settle(threads: int) -> None:
    """Make this process one of several: without progress bars, which would overwrite each other, and with its threads.

    Args:
        threads: That it computes with.
    """
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(threads)


_opened: dict[tuple[str, str], Bench] = {}
_scratch: list[tempfile.TemporaryDirectory[str]] = []


def do(recipe: Recipe, folder: Path, name: str) -> LaloraError | None:
    """Do one run of a study in this process, which keeps the model and data for the next one.

    Args:
        recipe: The study.
        folder: Where it is kept.
        name: Of the run.

    Returns:
        What it failed with, if it did.
    """
    plan = next(plan for plan in recipe.runs if plan.name == name)
    place = (str(folder), repr(recipe.document))
    try:
        if place not in _opened:
            _scratch.append(tempfile.TemporaryDirectory(prefix="lalora-"))
            _opened.clear()
            _opened[place] = open_bench(recipe, folder, _unheard, Path(_scratch[-1].name))
        train_run(plan, _opened[place], folder / name, plan.label)
    except LaloraError as error:
        return error
    return None


def _unheard(message: str) -> None:
    """Only the process that the user started speaks."""
