"""`lalora fit --plan`: nothing is loaded, and what is told is what a fit takes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lalora
from lalora.planning import Plan, plan
from tiny import Batch, batches, llama


def planned(**settings: object) -> Plan:
    options = {"adapter_rank": None, "rows": 2, "batch_size": 1, "length": 6, **settings}
    return plan(llama().config, torch.float32, **options)  # type: ignore[arg-type]


def test_files_are_as_large_as_they_become(tmp_path: Path) -> None:
    found = planned()
    ids = [torch.arange(1, 7), torch.arange(2, 8)]
    items: list[Batch] = [{"input_ids": row, "labels": row} for row in ids]
    whole = lalora.fit(llama(), batches(items, 1), target_modules="all-linear", progress=False)
    whole.save(tmp_path / "whole", torch.bfloat16)
    (file,) = (tmp_path / "whole").glob("*.safetensors")
    header = int.from_bytes(file.read_bytes()[:8], "little") + 8
    (cost,) = [one for one in found.costs if one.curvature == "weight-kfac" and one.rank is None]
    assert cost.file == pytest.approx(file.stat().st_size - header, rel=0.15)


def test_layers_that_read_one_input_share_a_factor() -> None:
    model = planned().model
    assert len(model.shapes) == 14
    assert len(set(model.inputs.values())) == 8  # q, k, v; o; gate, up; down, in each of two blocks
    assert model.weights == sum(parameter.numel() for parameter in llama().parameters())
    assert model.weight_bytes >= 4 * model.weights


def test_a_rank_bounds_what_is_collected_and_more_tokens_do_not_matter() -> None:
    def peak(length: int, rank: int | None) -> int:
        (cost,) = [one for one in planned(length=length).costs if (one.curvature, one.rank) == ("weight-kfac", rank)]
        return cost.device

    few, many = planned(rows=8), planned(rows=800)
    for one, other in zip(few.costs, many.costs, strict=True):
        assert other.device >= one.device
        assert other.operations > 50 * one.operations
    assert many.costs[0].device - few.costs[0].device < 10_000  # no factor of the tiny model is large
    assert peak(12, None) > peak(6, None)


def test_an_adapter_and_a_base(run: Callable[..., tuple[int, str, str]], tiny_model: Path, tmp_path: Path) -> None:
    status, told, err = run("fit", tiny_model, "--plan", 16, "--rows", 4)
    assert status == 0, err
    for word in ("diagonal", "tri-kfac", "weight-kfac", "peak memory", "Nothing was loaded", "14 layers"):
        assert word in told
    _, told, _ = run("fit", tiny_model, "--plan", 16, "--rows", 4, "--base")
    assert "weight-kfac" in told
    assert "tri-kfac" not in told
    assert not list(tmp_path.glob("laplace*"))


def test_what_cannot_be_planned_is_one_line(refused: Callable[..., str], tiny_model: Path) -> None:
    assert "nowhere/at-all" in refused("fit", "nowhere/at-all", "--plan", 16)
    assert "no_such" in refused("fit", tiny_model, "--plan", 16, "--target-modules", "no_such")
