"""Several runs at once on one machine, each in a process of its own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import datasets
import torch
from transformers.utils import logging

from lalora.errors import LaloraError, as_failure
from lalora.files import is_of_the_disk
from lalora.progress import without_bars
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.recipe import Recipe
from lalora.study.run.train_run import train_run
from lalora.study.runners.run_study import Outcome
from lalora.study.setup.context import Context, Say
from lalora.study.setup.open_context import open_context
from lalora.study.store.finished import is_done
from lalora.study.store.identity import Identity, first_difference, key

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

    def __call__(
        self, recipe: Recipe, plans: list[RunPlan], context: Context, folder: Path
    ) -> Generator[Outcome, None, None]:
        """Do the runs."""
        _ = context.base
        threads = max(1, torch.get_num_threads() // self.workers)
        left, deaths = list(plans), 0
        while left:
            before = len(left)
            try:
                for plan, error in self._pooled(recipe, left, folder, threads, context.common):
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
                for plan in [plan for plan in left if is_done(folder / plan.name, key(context.identity(plan)))]:
                    left.remove(plan)
                    yield plan, None

    def _pooled(
        self, recipe: Recipe, plans: list[RunPlan], folder: Path, threads: int, common: Identity
    ) -> Generator[Outcome, None, None]:
        pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _begin, (threads,))
        waiting: dict[Future[LaloraError | None], RunPlan] = {}
        try:
            with without_bars():
                waiting = {pool.submit(do, recipe, folder, plan.name, common): plan for plan in plans}
                while waiting:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        error = future.result()
                        yield waiting.pop(future), error
        finally:
            pool.shutdown(wait=not waiting, cancel_futures=True)
            if waiting:
                for child in multiprocessing.active_children():
                    child.terminate()


def _begin(threads: int) -> None:
    # Ctrl-C is for the process that the user started, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settle(threads)


def _end_with_parent() -> None:
    # An orphan would go on with a run that a study started anew does too.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def settle(threads: int) -> None:
    """Make this process one of several, which has its threads and does not speak."""
    torch.set_num_threads(threads)
    datasets.disable_progress_bars()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


_opened: dict[tuple[str, str], Context] = {}


def do(
    recipe: Recipe, folder: Path, name: str, common: Identity, kept: Callable[[], None] = lambda: None
) -> LaloraError | None:
    """Do one run of a study in this process, which keeps the model and data for the next one."""
    plan = next(plan for plan in recipe.runs if plan.name == name)
    place = (str(folder), repr(recipe.document))
    try:
        if place not in _opened:
            _opened.clear()
            _opened[place] = open_context(recipe, folder, _unheard)
        here = _opened[place].common
        if key(here) != key(common):
            return LaloraError(
                f"a worker computes otherwise than where the study was started: {first_difference(common, here)}"
            )
        train_run(plan, _opened[place], folder / name, plan.label, kept)
    except Exception as error:
        if is_of_the_disk(error):
            raise
        return as_failure(error)
    return None


def _unheard(message: str) -> None:
    """Only the process that the user started speaks."""
