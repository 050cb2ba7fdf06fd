"""Layers of one shape computed at once: against the dense matrix of each layer, and how few operations it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from curvature_oracle import agree, by_autograd
from lalora.curvature import (
    Anchor,
    Factor,
    Factors,
    Kfac,
    Quadratic,
    TriKfac,
    WeightKfac,
    WeightPrior,
    _stack,
)
from lalora.curvature._stack import MOST_PADDING, Apart, Together, cut
from lalora.laplace._penalty import add_gradient, displacement
from lalora.tensor_names import a_name, b_name

CPU = torch.device("cpu")


class Network:
    """Random layers: (name, d_out, d_in, adapter's rank, key of X); factors of random ranks."""

    def __init__(
        self,
        layers: list[tuple[str, int, int, int, str]],
        seed: int = 0,
        zero: str = "",
        positions: int = 9,
        truncated: bool = False,
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.layers = sorted(layers)
        inputs, outputs = dict[str, Tensor](), dict[str, Tensor]()
        for name, out, into, _, key in self.layers:
            inputs.setdefault(key, self.random(self.count(positions), into))
            outputs[name] = self.random(self.count(positions), out)
        self.factors = Factors.of(
            {key: self.factor(rows, truncated) for key, rows in inputs.items()},
            {name: self.factor(rows, truncated) for name, rows in outputs.items()},
            {name: key for name, _, _, _, key in self.layers},
        )
        self.anchors = {
            name: Anchor.of(
                self.random(rank, into) * ("A" not in zero), self.random(out, rank) * ("B" not in zero), 1 + place / 9
            )
            for place, (name, out, into, rank, _) in enumerate(self.layers)
        }
        self.delta: dict[str, Tensor] = {}
        for name, out, into, rank, _ in self.layers:
            self.delta |= {a_name(name): self.random(rank, into), b_name(name): self.random(out, rank)}

    def factor(self, rows: Tensor, truncated: bool) -> Factor:
        return Factor.of_rows(rows, 1 / len(rows), rank=self.count(4) if truncated else None)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def count(self, most: int) -> int:
        return int(torch.randint(1, most + 1, (), generator=self.generator))

    def dense(self, kind: str, delta: Mapping[str, Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for name, anchor in self.anchors.items():
            x, g = self.factors.x(name).dense(), self.factors.g(name).dense()
            da, db = delta[a_name(name)], delta[b_name(name)]
            a0 = torch.zeros_like(da) if anchor.a is None else anchor.a
            b0 = torch.zeros_like(db) if anchor.b is None else anchor.b
            changes = {
                "kfac": [db @ a0, b0 @ da],
                "tri-kfac": [db @ a0 + b0 @ da],
                "weight-kfac": [(b0 + db) @ (a0 + da) - b0 @ a0],
            }
            changes["weight-prior"] = changes["weight-kfac"]
            if kind == "weight-prior":
                x, g = torch.eye(len(x)).double(), 0.3 * torch.eye(len(g)).double()
            for change in changes[kind]:
                total = total + anchor.scale**2 * (change * (g @ change @ x)).sum()
        return total


def block(number: int, ranks: tuple[int, int] = (2, 2)) -> list[tuple[str, int, int, int, str]]:
    """A block of a small Llama: q, k and v read one input, gate and up another."""
    r, other = ranks
    return [
        (f"{number}.q", 6, 6, r, f"{number}.in"),
        (f"{number}.k", 3, 6, r, f"{number}.in"),
        (f"{number}.v", 3, 6, other, f"{number}.in"),
        (f"{number}.o", 6, 6, r, f"{number}.o"),
        (f"{number}.gate", 8, 6, r, f"{number}.mlp"),
        (f"{number}.up", 8, 6, r, f"{number}.mlp"),
        (f"{number}.down", 6, 8, other, f"{number}.down"),
    ]


KINDS: dict[str, Callable[[Network], Any]] = {
    "kfac": lambda net: Kfac.of(net.factors, net.anchors),
    "tri-kfac": lambda net: TriKfac.of(net.factors, net.anchors),
    "weight-kfac": lambda net: WeightKfac.of(net.factors, net.anchors),
    "weight-prior": lambda net: WeightPrior(0.3).anchored(net.anchors),
}


@pytest.fixture(params=["stacked", "apart"])
def apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "apart":
        monkeypatch.setattr(_stack, "_LEFT_APART", 0)
    return bool(request.param == "apart")


@pytest.mark.parametrize("zero", ["", "A", "B"])
@pytest.mark.parametrize("kind", KINDS)
def test_many_layers_against_the_dense_matrix(kind: str, zero: str, apart: bool) -> None:
    for seed in range(4):
        network = Network([*block(0), *block(1, (2, 3)), *block(2)], seed, zero, truncated=seed > 1)
        curvature = KINDS[kind](network)
        wanted = by_autograd(lambda delta: network.dense(kind, delta), network.delta)  # ruff: ignore[function-uses-loop-variable]
        devices = dict.fromkeys(network.delta, CPU)
        for form in (curvature, curvature.used_at(devices, torch.float64)):
            value, gradient = form.value_and_grad(network.delta)
            assert torch.allclose(2 * value, network.dense(kind, network.delta), rtol=1e-10)
            assert agree(gradient, wanted)
            assert list(gradient) == list(form.names) == list(curvature.names)
            assert all(gradient[name].shape == network.delta[name].shape for name in gradient)
            assert all(block.is_contiguous() for block in gradient.values())
            still, nothing = form.value_and_grad({name: torch.zeros_like(one) for name, one in network.delta.items()})
            assert still == 0
            assert not any(block.any() for block in nothing.values())


def test_layers_of_which_some_start_at_zero() -> None:
    network = Network([*block(0), *block(1)], 3)
    for name, tensor in (("0.q", "b"), ("0.k", "a"), ("1.down", "b")):
        anchor = network.anchors[name]
        a, b = (None if part == tensor else getattr(anchor, part) for part in ("a", "b"))
        network.anchors[name] = Anchor(a, b, anchor.scale, anchor.shape)
    for kind, made in KINDS.items():
        value, gradient = made(network).value_and_grad(network.delta)
        assert torch.allclose(2 * value, network.dense(kind, network.delta), rtol=1e-10)
        assert agree(gradient, by_autograd(lambda delta: network.dense(kind, delta), network.delta))  # ruff: ignore[function-uses-loop-variable]


def test_only_the_layers_that_have_a_home() -> None:
    network = Network(block(0))
    some = {name: CPU for name in network.delta if ".q." not in name}
    found = KINDS["weight-kfac"](network).used_at(some, torch.float64)
    assert set(found.names) == set(some)
    still = {name: one * ("q." not in name) for name, one in network.delta.items()}
    assert torch.allclose(found.quadratic(network.delta), network.dense("weight-kfac", still))


class Counted(TorchDispatchMode):
    """Counts operations that compute or copy; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aliases = [one.alias_info for one in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        if not view and func is not torch.ops.aten.promote_types.default:
            self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


def used(network: Network, kind: str) -> Quadratic:
    return KINDS[kind](network).used_at(dict.fromkeys(network.delta, CPU), torch.float32)


def counted(work: Callable[[], object]) -> list[str]:
    work()
    with Counted() as mode:
        work()
    return mode.operations


@pytest.mark.parametrize(
    ("kind", "zero", "most"), [("weight-kfac", "B", 12), ("kfac", "B", 7), ("weight-kfac", "", 25)]
)
def test_operations_of_layers_of_one_shape(kind: str, zero: str, most: int) -> None:
    found = []
    for layers in (2, 40):
        network = Network([(f"{n:02}", 5, 7, 2, f"{n:02}") for n in range(layers)], 0, zero, positions=1)
        form, delta = used(network, kind), {name: one.float() for name, one in network.delta.items()}
        found.append(counted(lambda: form.value_and_grad(delta)))  # ruff: ignore[function-uses-loop-variable]
    assert found[0] == found[1]
    assert len(found[0]) <= most, found[0]


def test_operations_of_a_step_on_a_llama() -> None:
    shapes = 4  # (6, 6), (3, 6), (8, 6), (6, 8)
    numbers = []
    for blocks in (2, 20):
        network = Network([layer for number in range(blocks) for layer in block(number)], 0, "B", positions=1)
        form = used(network, "weight-kfac")
        means = {name: one.float() for name, one in network.delta.items() if "lora_A" in name}
        parameters = {name: torch.nn.Parameter(one.float() * 2) for name, one in network.delta.items()}
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)

        @torch.no_grad()
        def step() -> None:
            add_gradient(form, parameters, displacement(parameters, means), 1.0, 1.0)  # ruff: ignore[function-uses-loop-variable]

        numbers.append(counted(step))
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) <= 12 * shapes, numbers[0]


def stacks(form: Any) -> Iterator[Any]:
    yield from (group.stack for part in form.parts for side in (part.x, part.g) for group in side.groups)


def test_factors_are_not_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network([*block(0), *block(1)])
    curvature = KINDS["weight-kfac"](network)
    devices = dict.fromkeys(network.delta, CPU)
    held = sum(tensor.numel() for name, tensor in curvature.factors.tensors().items() if name.endswith("vectors"))
    found = list(stacks(curvature.used_at(devices, torch.float64)))
    assert all(isinstance(stack, Together) for stack in found)
    assert sum(stack.roots.numel() for stack in found) <= MOST_PADDING * held
    monkeypatch.setattr(_stack, "_LEFT_APART", 0)
    found = list(stacks(curvature.used_at(devices, torch.float64)))
    assert all(isinstance(stack, Apart) for stack in found)
    own = {
        factor.vectors.data_ptr()
        for side in (network.factors.inputs, network.factors.outputs)
        for factor in side.values()
    }
    assert {vectors.data_ptr() for stack in found for vectors in stack.vectors} == own


@given(ranks=st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_padding_stays_within_its_bound(ranks: list[int]) -> None:
    ranks.sort(reverse=True)
    sizes = cut(ranks)
    assert sum(sizes) == len(ranks)
    for size in sizes:
        part, ranks = ranks[:size], ranks[size:]
        assert part[0] * size <= MOST_PADDING * sum(part)


def test_padding_by_hand() -> None:
    assert cut([64] * 30) == [30]
    # 3 · 100 ≤ 1.25 · 260, and 4 · 100 > 1.25 · 310.
    assert cut([100, 90, 70, 50, 50]) == [3, 2]
