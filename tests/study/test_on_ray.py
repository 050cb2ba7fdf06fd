"""Runs on a real Ray cluster of two nodes on this machine end as one after the other, also when a node is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.study import load_recipe, run_study
from lalora.study.runners.on_ray import OnRay
from lalora.study.runners.shared_storage import Place
from tiny_study import GRID, outcome

ray = pytest.importorskip("ray", reason="Ray has no release for this Python or system")

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore"),
]  # Ray's own


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that computes nothing, and two worker nodes, as processes of their own."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def recipe(recipe_file: Callable[..., str]) -> Any:
    return load_recipe(recipe_file(grid=GRID[:2], dropout=0.1, steps=6))


def on(cluster: Any, said: list[str], share: Place | None) -> OnRay:
    return OnRay(cluster.address, 1, 0.0, share, said.append)


@pytest.mark.parametrize("shared", ["folder", "url"])
def test_a_cluster_finds_what_one_process_finds_though_a_node_is_killed(
    shared: str, cluster: Any, recipe: Any, tmp_path: Path
) -> None:
    folder, said = tmp_path / "cluster", []
    share = Place(f"file://{tmp_path}/elsewhere") if shared == "url" else None
    reached = tmp_path / "elsewhere" if share else folder

    def kill_a_node() -> None:
        while not any(path.stat().st_size for path in reached.glob("*/timing.jsonl")):
            time.sleep(0.01)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    found = run_study(recipe, folder, "lalora run tiny", said.append, on(cluster, said, share))
    killer.join(30)
    assert not killer.is_alive()
    alone = run_study(recipe, tmp_path / "alone", "lalora run tiny", said.append)
    assert outcome(folder) == outcome(tmp_path / "alone")
    assert not list(reached.rglob("checkpoint-*"))
    assert [run["final"] for run in found["runs"]] == [run["final"] for run in alone["runs"]]


def test_a_cluster_that_is_not_there(recipe: Any, tmp_path: Path) -> None:
    runner = OnRay("127.0.0.1:1", 1, 0.0, None, lambda said: None)
    with pytest.raises(LaloraError, match=r"--ray 127.0.0.1:1: no cluster can be reached there"):
        run_study(recipe, tmp_path / "study", "lalora run tiny", lambda said: None, runner)
