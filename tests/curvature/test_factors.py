"""Factors of many layers: shared inputs, means, devices, files."""

import pytest
import torch

from curvature_oracle import Case
from lalora.curvature import Factor, Factors
from lalora.errors import LaloraError


def three_layers(seed: int = 0) -> Factors:
    case = Case(seed)
    x, other = Factor.of_rows(case.random(3, 5)), Factor.of_rows(case.random(3, 6))
    outputs = {name: Factor.of_rows(case.random(4, 7)) for name in ("block.q", "block", "block.k")}
    return Factors.of({"block.k": x, "block": other}, outputs, {"block.q": "block.k"})


def test_a_shared_input_is_held_and_stored_once() -> None:
    factors = three_layers()
    assert factors.layers == ("block", "block.k", "block.q")
    assert factors.x("block.q") is factors.x("block.k")
    assert factors.shape("block.q") == (7, 5)
    assert [name for name in factors.tensors() if name.startswith("X/") and name.endswith("vectors")] == [
        "X/block/vectors",
        "X/block.k/vectors",
    ]
    again = Factors.from_tensors(dict(reversed(factors.tensors().items())))
    assert again.keys == factors.keys
    assert again.x("block.q") is again.x("block.k")
    assert all(torch.equal(again.x(name).dense(), factors.x(name).dense()) for name in factors.layers)
    assert all(torch.equal(again.g(name).dense(), factors.g(name).dense()) for name in factors.layers)


def test_a_shared_input_is_copied_once_a_device() -> None:
    cpu, meta = torch.device("cpu"), torch.device("meta")
    factors = three_layers()
    near = factors.to({"block": cpu, "block.k": cpu, "block.q": cpu}, torch.float32)
    assert near.x("block.q") is near.x("block.k")
    assert near.x("block.q").vectors.dtype == torch.float32
    apart = factors.to({"block": cpu, "block.k": cpu, "block.q": meta}, torch.float32)
    assert apart.x("block.k").vectors.device == cpu
    assert apart.x("block.q").vectors.device == apart.g("block.q").vectors.device == meta


def test_restricted_forgets_inputs_that_nobody_reads() -> None:
    assert list(three_layers().restricted(["block.q"]).inputs) == ["block.q"]


def test_mean_scaled_truncated() -> None:
    first, second = three_layers(1), three_layers(2)
    mean = Factors.mean([first, second], [0.25, 0.75])
    assert torch.allclose(mean.x("block").dense(), first.x("block").dense() / 4 + second.x("block").dense() * 0.75)
    assert mean.x("block.q") is mean.x("block.k")
    scaled = first.scaled(3)
    assert torch.allclose(scaled.g("block").dense(), 3 * first.g("block").dense())
    assert torch.equal(scaled.x("block").dense(), first.x("block").dense())
    assert {factor.rank for factor in (*first.truncated(2).inputs.values(), *first.truncated(2).outputs.values())} == {
        2
    }


def test_layers_that_do_not_match() -> None:
    with pytest.raises(LaloraError, match="different layers"):
        Factors.mean([three_layers(), three_layers().restricted(["block"])])
