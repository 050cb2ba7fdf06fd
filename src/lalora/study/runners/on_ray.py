"""Several runs at once on a Ray cluster, which does the scheduling."""

import platform
import shutil
import socket
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lalora.errors import LaloraError, one_line
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.recipe import Recipe
from lalora.study.run.train_run import CHECKPOINTS
from lalora.study.runners.in_processes import do, settle
from lalora.study.runners.run_study import Outcome
from lalora.study.runners.shared_storage import Place
from lalora.study.setup.context import Context, Say
from lalora.study.setup.open_context import SHARED
from lalora.study.store.identity import Identity

_MOST_DEATHS = 3
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class OnRay:
    """Does runs as tasks of a Ray cluster, all of whose nodes see the folder of the study or share a URL.

    A task whose worker or node dies is done again elsewhere, from its last checkpoint.

    Attributes:
        address: Of the cluster: `auto`, `host:port`, or `local` for one on this machine alone.
        cpus: Cores a run asks for, which are the threads it computes with.
        gpus: Share of a GPU that a run asks for; 0.25 packs four on one.
        share: Where nodes that do not see the folder hand on what they reach.
        say: Tells the user what goes on.
    """

    address: str
    cpus: int
    gpus: float
    share: Place | None
    say: Say

    def __call__(
        self, recipe: Recipe, plans: list[RunPlan], context: Context, folder: Path
    ) -> Generator[Outcome, None, None]:
        """Do the runs."""
        if not plans:
            return
        try:
            import ray
            from ray.exceptions import RayError
        except ImportError as error:
            raise LaloraError('--ray needs Ray: pip install "lalora[ray]"') from error
        self._require_reachable()
        _ = context.base
        if self.share:
            self.share.check()
            self.share.send(context.shared, SHARED)
        try:
            ray.init(
                address=self.address, log_to_driver=False, include_dashboard=False if self.address == "local" else None
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = one_line(error)
            raise LaloraError(f"--ray {self.address}: no cluster can be reached there ({reason})") from error
        if not any(self._fits(node["Resources"]) for node in ray.nodes() if node["Alive"]):
            ray.shutdown()
            raise LaloraError(
                f"--ray {self.address}: no node has {self.cpus} cores and {self.gpus:g} GPUs; lower --cpus-per-run or "
                "--gpus-per-run"
            )
        task = ray.remote(_do).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=_MOST_DEATHS)
        waiting = {}
        try:
            waiting = {
                task.remote(
                    recipe, str(folder.absolute()), plan.name, self.cpus, dict(context.common), self.share
                ): plan
                for plan in plans
            }
            while waiting:
                (ended, *_), _ = ray.wait(list(waiting), num_returns=1)
                plan = waiting.pop(ended)
                try:
                    failure: LaloraError | None = ray.get(ended)
                    self._bring(plan.name, folder)
                except RayError as lost:
                    failure = LaloraError(f"failed on the cluster: {one_line(lost)}; run again to go on")
                self.say(f"{plan.label}: {'failed' if failure else 'finished'}, {len(waiting)} to go")
                yield plan, failure
        finally:
            for unfinished in waiting:
                ray.cancel(unfinished, force=True)
            ray.shutdown()

    def _require_reachable(self) -> None:
        # Ray itself tries for minutes.
        host, _, port = self.address.removeprefix("ray://").rpartition(":")
        if not port.isdigit():
            return  # `auto` or `local`
        try:
            socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
        except OSError as error:
            raise LaloraError(f"--ray {self.address}: no cluster can be reached there ({one_line(error)})") from error

    def _bring(self, name: str, folder: Path) -> None:
        if self.share:
            self.share.fetch(SHARED, folder / SHARED)
            self.share.fetch(name, folder / name)

    def _fits(self, resources: Mapping[str, float]) -> bool:
        return resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.gpus


def _do(
    recipe: Recipe, folder: str, name: str, threads: int, common: Identity, share: Place | None
) -> LaloraError | None:
    settle(threads)
    if share:
        return _do_apart(recipe, name, common, share)
    if not (Path(folder) / ".lock").exists():
        return LaloraError(f"{folder} is not there on node {platform.node()}: all nodes must see it; or --share a URL")
    return do(recipe, Path(folder), name, common)


def _do_apart(recipe: Recipe, name: str, common: Identity, share: Place) -> LaloraError | None:
    # On a disk of its own, from what the nodes before it reached.
    folder = _folders.setdefault(share.url, Path(tempfile.mkdtemp(prefix="lalora-")))
    shutil.rmtree(folder / name, ignore_errors=True)
    share.fetch(SHARED, folder / SHARED)
    share.fetch(name, folder / name)
    failure = do(recipe, folder, name, common, lambda: share.send(folder / name, name))
    share.send(folder / SHARED, SHARED)
    if failure is None:
        share.send(folder / name, name)
        share.drop(f"{name}/{CHECKPOINTS}")
        shutil.rmtree(folder / name)
    return failure


_folders: dict[str, Path] = {}
