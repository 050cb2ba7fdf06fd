"""Stage I over two processes against one process over all rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lalora
from hostile.sandbox import Sandbox
from lalora.curvature import Kfac
from tiny import Batch, batches, lora, rows

KINDS = [
    ("diagonal", "sequence"),
    ("diagonal", "token"),
    ("diagonal", "batch"),
    ("weight-diagonal", "sequence"),
    ("kfac", "token"),
    ("kfac", "sequence"),
    ("weight-kfac", "token"),
]
ROWS_OF_FIRST = {"even": 2, "uneven": 3, "second empty": 4, "first empty": 0}

# Each process writes down what it got; every case ends in step, so that the next one can follow.
WORKER = """
import datetime
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader, IterableDataset

import lalora
from lalora import LaloraError
from lalora.adapter import snapshot
from lalora.fisher import _pass
from tiny import batches, collate, lora, rows

dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
rank = dist.get_rank()
KINDS = {kinds}
ROWS_OF_FIRST = {rows_of_first}
found = {{}}


def described(laplace):
    (dataset,) = laplace.provenance.datasets
    tensors = laplace.curvature.tensors()
    seen = (dataset.rows, dataset.tokens, dataset.batches, dataset.sha256)
    return {{"tensors": tensors, "seen": seen, "mean": laplace.mean}}


def model_of():
    return lora(dtype=torch.float64, b_scale=0.3)


def own(items, first):
    return batches(items[:first] if rank == 0 else items[first:], 2)


def fit(model, source, **settings):
    settings = {{"curvature": "diagonal", **settings}}
    return described(lalora.fit(model, source, progress=False, **settings))


for shard, first in ROWS_OF_FIRST.items():
    for kind, fisher in KINDS:
        found[shard, kind, fisher] = fit(
            model_of(), own(rows(4), first), curvature=kind, fisher=fisher, labels="data"
        )

found["sketched"] = fit(model_of(), own(rows(4), 2), curvature="weight-kfac", labels="data", factor_rank=1)

others = model_of(), lora(dtype=torch.float64, b_scale=0.3, target_modules=["embed_tokens", "v_proj"])
found["embedding"] = fit(others[1], own(rows(4), 4), labels="data")

blank = [{{**row, "labels": row["labels"] * 0 - 100}} for row in rows(2)]
found["no completion in one"] = fit(model_of(), own(rows(4) + blank, 4), labels="data")

partial = model_of()
if rank == 1:
    mlp = partial.get_base_model().model.layers[0].mlp
    mlp.forward = lambda x: mlp.down_proj(torch.nn.functional.silu(mlp.gate_proj(x)))
found["a layer of one"] = fit(partial, own(rows(4), 3), curvature="kfac", labels="data")

drawn = []
draw = _pass.draw


def recorded(*arguments):
    drawn.append(draw(*arguments))
    return drawn[-1]


_pass.draw = recorded
for kind in ("diagonal", "kfac"):
    found["sampled", kind] = fit(model_of(), batches(rows(2), 2), curvature=kind)
_pass.draw = draw
found["drawn"] = drawn

accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
loader = accelerator.prepare(DataLoader(rows(5), batch_size=2, collate_fn=collate))
found["accelerate"] = fit(accelerator.prepare(model_of()), loader, labels="data", curvature="kfac")
found["accelerate, own batches"] = len(list(loader))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(rows(12, longest=5))  # of one length, which the loader needs to hand them out


class Breaks:
    def __iter__(self):
        yield from batches(rows(2), 2)
        raise OSError("the disk is gone")


def failure(name, make):
    try:
        make()
    except LaloraError as error:
        found["error", name] = ("LaloraError", str(error))
    except OSError as error:
        found["error", name] = ("OSError", str(error))


def poisoned():
    model = model_of()
    if rank == 1:
        model.get_base_model().lm_head.weight.data[0, 0] = float("nan")
    return model


for kind in ("diagonal", "kfac"):
    bad = own(rows(4), 2)
    if rank == 1:
        del bad[0]["labels"]
    failure(("bad batch", kind), lambda: fit(model_of(), bad, curvature=kind))
    failure(("no completion", kind), lambda: fit(model_of(), batches(blank, 2), curvature=kind))
    failure(("not finite", kind), lambda: fit(poisoned(), own(rows(4), 2), curvature=kind, labels="data"))
    failure(("exception", kind), lambda: fit(model_of(), Breaks() if rank == 0 else own(rows(4), 2), curvature=kind))
    stream = Accelerator(cpu=True).prepare(DataLoader(Stream(), batch_size=2, collate_fn=collate))
    failure(("dispatched", kind), lambda: fit(poisoned(), stream, curvature=kind, labels="data"))
    failure(("names", kind), lambda: fit(model_of(), {{"ab"[rank]: batches(rows(2), 2)}}, curvature=kind))
    failure(("adapters", kind), lambda: fit(lora(seed=rank), batches(rows(2), 2), curvature=kind))
found["after errors"] = fit(model_of(), own(rows(4), 2), labels="data")
torch.save(found, Path(sys.argv[1]) / f"{{rank}}.pt")
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def found(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of two processes ends with, by case."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "work.py"
    script.write_text(WORKER.format(kinds=KINDS, rows_of_first=ROWS_OF_FIRST))
    for process in sandbox.launch(2, script, folder):
        assert process.wait() == 0, process.communicate()[1][:4000]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def alone(items: list[list[Batch]], **settings: Any) -> lalora.Laplace:
    """One process over the batches of both."""
    model = settings.pop("model", None) or lora(dtype=torch.float64, b_scale=0.3)
    parts = [batch for part in items for batch in batches(part, 2)]
    return lalora.fit(model, parts, progress=False, **{"labels": "data", "curvature": "diagonal", **settings})


def dense(kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the tensors stand for, free of the choice of eigenvectors."""
    if "kfac" not in kind:
        return tensors
    factors = Kfac.from_tensors(tensors).factors
    return {f"{which}/{layer}": getattr(factors, which)(layer).dense() for layer in factors.layers for which in "xg"}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].double() - value.double()).norm() <= 1e-6 * value.double().norm(), name


def assert_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["seen"] == second["seen"]
    for part in ("tensors", "mean"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(value, second[part][name]) for name, value in first[part].items())


def test_sketches_of_two_processes_keep_the_trace_and_what_stands_out(found: Any) -> None:
    assert_the_same(found[0]["sketched"], found[1]["sketched"])
    whole = alone([rows(4)[:2], rows(4)[2:]], curvature="weight-kfac")
    exact = whole.curvature.factors  # type: ignore[attr-defined]
    both = Kfac.from_tensors(found[0]["sketched"]["tensors"]).factors
    for layer in exact.layers:
        for which in "xg":
            one, other = (getattr(factors, which)(layer) for factors in (both, exact))
            assert one.rank == 1
            assert float(one.trace) == pytest.approx(float(other.trace), rel=1e-6)
            best = other.truncated(1).dense() - other.dense()
            assert float((one.dense() - other.dense()).norm()) < 1.3 * float(best.norm())


@pytest.mark.parametrize("shard", ROWS_OF_FIRST)
@pytest.mark.parametrize(("kind", "fisher"), KINDS)
def test_two_processes_end_with_what_one_would(found: Any, kind: str, fisher: str, shard: str) -> None:
    first, second = (each[shard, kind, fisher] for each in found)
    assert_the_same(first, second)
    split = ROWS_OF_FIRST[shard]
    expected = alone([rows(4)[:split], rows(4)[split:]], curvature=kind, fisher=fisher)
    assert_close(dense(kind, first["tensors"]), dense(kind, dict(expected.curvature.tensors())))
    assert first["mean"].keys() == expected.mean.keys()
    (dataset,) = expected.provenance.datasets
    assert first["seen"][:3] == (dataset.rows, dataset.tokens, dataset.batches)


def test_layers_share_an_input_as_in_one_process(found: Any) -> None:
    for shard in ROWS_OF_FIRST:
        factors = Kfac.from_tensors(found[0][shard, "kfac", "token"]["tensors"]).factors
        assert len(factors.inputs) == 4 * 2, shard  # q, k, v; o; gate, up; down of two blocks


def test_a_tensor_that_one_process_never_saw_counts_as_zero_there(found: Any) -> None:
    model = lora(dtype=torch.float64, b_scale=0.3, target_modules=["embed_tokens", "v_proj"])
    assert_the_same(found[0]["embedding"], found[1]["embedding"])
    assert_close(found[0]["embedding"]["tensors"], dict(alone([rows(4)], model=model).curvature.tensors()))


def test_a_process_without_a_completion_adds_nothing(found: Any) -> None:
    assert_the_same(found[0]["no completion in one"], found[1]["no completion in one"])
    assert_close(found[0]["no completion in one"]["tensors"], dict(alone([rows(4)]).curvature.tensors()))


def test_a_layer_that_one_process_never_calls_has_its_own_input(found: Any) -> None:
    assert_the_same(found[0]["a layer of one"], found[1]["a layer of one"])
    factors = Kfac.from_tensors(found[0]["a layer of one"]["tensors"]).factors
    expected = {"gate": alone([rows(4)], curvature="kfac"), "up": alone([rows(4)[:3]], curvature="kfac")}
    for which, laplace in expected.items():
        (layer,) = [name for name in factors.layers if f"layers.0.mlp.{which}" in name]
        assert_close({"x": factors.x(layer).dense()}, {"x": laplace.curvature.factors.x(layer).dense()})


def test_sampled_labels_differ_between_processes_and_the_sums_do_not(found: Any) -> None:
    for kind in ("diagonal", "kfac"):
        assert_the_same(found[0]["sampled", kind], found[1]["sampled", kind])
    first, second = (torch.cat(each["drawn"]) for each in found)
    assert first.shape == second.shape
    # Of the same rows: were the random numbers the same, so were all of the labels.
    assert (first != second).any()


def test_a_loader_of_accelerate(found: Any) -> None:
    assert [each["accelerate, own batches"] for each in found] == [2, 1]
    assert_the_same(found[0]["accelerate"], found[1]["accelerate"])
    assert found[0]["accelerate"]["seen"][0] == 5
    expected = alone([rows(5)], curvature="kfac")
    assert_close(dense("kfac", found[0]["accelerate"]["tensors"]), dense("kfac", dict(expected.curvature.tensors())))


FAILURES = {
    "bad batch": (
        ("LaloraError", "process 1 failed: source 'source', batch 1: the batch has no 'labels'"),
        ("LaloraError", "source 'source', batch 1: the batch has no 'labels'"),
    ),
    "no completion": (("LaloraError", "source 'source' has no completion token"),) * 2,
    "not finite": (
        ("LaloraError", "process 1 failed: source 'source', batch 1: the loss is nan"),
        ("LaloraError", "source 'source', batch 1: the loss is nan"),
    ),
    "exception": (
        ("OSError", "the disk is gone"),
        ("LaloraError", "process 0 failed: OSError: the disk is gone"),
    ),
    "dispatched": (
        ("LaloraError", "process 1 failed: source 'source', batch 1: the loss is nan"),
        ("LaloraError", "source 'source', batch 1: the loss is nan"),
    ),
    "names": (("LaloraError", "source 'a' meets another source"), ("LaloraError", "source 'b' meets another source")),
    "adapters": (("LaloraError", "the processes differ in 'base model'"),) * 2,
}


@pytest.mark.parametrize("kind", ["diagonal", "kfac"])
@pytest.mark.parametrize("name", FAILURES)
def test_an_error_in_one_process_ends_both(found: Any, name: str, kind: str) -> None:
    for each, (error, message) in zip(found, FAILURES[name], strict=True):
        assert each["error", (name, kind)][0] == error
        assert each["error", (name, kind)][1].startswith(message)


def test_the_next_fit_works_after_errors(found: Any) -> None:
    assert_the_same(found[0]["after errors"], found[1]["after errors"])
    assert_close(found[0]["after errors"]["tensors"], dict(alone([rows(4)]).curvature.tensors()))
