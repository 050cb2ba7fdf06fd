"""One side, inputs or outputs, of many layers: rows of their adapters under the factors of that side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lalora.curvature._factor import Factor
from lalora.curvature._stack import Apart, Identity, Stack, Together, apart, cut


@dataclass(frozen=True)
class Rows:
    """Rows of every layer of a side, a tensor for each group of layers.

    Attributes:
        roots: H, the root coordinates.
        products: The rows times the factor; empty where nobody asks for them.
    """

    roots: tuple[Float[Tensor, "_ r _"], ...]
    products: tuple[Float[Tensor, "_ r _"], ...]

    def __add__(self, other: Rows) -> Rows:
        """Add row to row."""
        sums = torch._foreach_add([*self.roots, *self.products], [*other.roots, *other.products])
        return Rows(tuple(sums[: len(self.roots)]), tuple(sums[len(self.roots) :]))

    @property
    def without_products(self) -> Rows:
        """Let go of the products."""
        return replace(self, products=())


@dataclass(frozen=True)
class Group:
    """Layers of one size whose factors are a stack.

    Attributes:
        stack: The factors.
        layers: Layers, those that share a factor next to each other.
        shared: How many share each factor.
        size: d.
        tails: √τ of each factor: the last d root coordinates are the rows times it. None where no factor has a tail.
    """

    stack: Stack | Apart
    layers: tuple[str, ...]
    shared: int
    size: int
    tails: Float[Tensor, "n 1 1"] | None = None

    def parted(
        self, roots: Float[Tensor, "n m k"] | None
    ) -> tuple[Float[Tensor, "n m _"] | None, Float[Tensor, "n m _"] | None]:
        """Part root coordinates into those of the eigenvectors and those of the tails."""
        if roots is None or self.tails is None:
            return roots, None
        low = roots.shape[2] - self.size
        return roots.narrow(2, 0, low), roots.narrow(2, low, self.size)


@dataclass(frozen=True)
class Side:
    """X or G of layers whose adapters have one rank r, on one device.

    Attributes:
        groups: The layers by size.
        names: The name of each layer's tensor on this side.
        order: The layers in the order of forms and coefficients, which both sides share.
        device: Where they lie.
        columns: Whether the tensors have their r rows as columns, as B has.
    """

    groups: tuple[Group, ...]
    names: Mapping[str, str]
    order: tuple[str, ...]
    device: torch.device
    columns: bool

    def rows(self, tensors: Mapping[str, Tensor], start: Rows | None = None) -> Rows:
        """Look at the tensors of every layer, by their names, plus a start."""
        roots, products = [], []
        for number, group in enumerate(self.groups):
            given, shared = [tensors[self.names[layer]] for layer in group.layers], group.shared
            count, rank = len(given) // shared, given[0].shape[1 if self.columns else 0]
            begun = None if start is None else start.roots[number].reshape(count, shared * rank, -1)
            low, rest = group.parted(begun)
            if isinstance(group.stack, Apart):
                # A copy of what is not shared would be of no use.
                each = [tensor.T if self.columns else tensor for tensor in given]
                if shared > 1:
                    each = [torch.cat(each[at : at + shared]) for at in range(0, len(each), shared)]
                root, product = group.stack.roots_and_products(each, low)
                rows = None if group.tails is None else torch.stack(each)
            else:
                rows = torch.stack(given).mT if self.columns else torch.cat(given).view(count, shared * rank, -1)
                root, product = group.stack.roots_and_products(rows, low)
            if group.tails is not None and rows is not None:
                rest = rows * group.tails if rest is None else torch.addcmul(rest, rows, group.tails)
                root, product = torch.cat([root, rest], dim=2), torch.addcmul(product, rest, group.tails)
            roots.append(root.reshape(len(given), rank, -1))
            products.append(product.reshape(len(given), rank, -1))
        return Rows(tuple(roots), tuple(products))

    def form(self, left: Rows, right: Rows) -> Float[Tensor, "layers r r"]:
        """Compute the inner products of rows under the factors."""
        parts = [torch.bmm(one, other.mT) for one, other in zip(left.roots, right.roots, strict=True)]
        forms = parts[0] if len(parts) == 1 else torch.cat(parts)
        return forms if self._from_own is None else forms.index_select(0, self._from_own)

    def gradient(self, terms: Sequence[tuple[Float[Tensor, "layers r r"], Rows]]) -> dict[str, Tensor]:
        """Compute the sum of coefficients times products, laid out and named as the tensors are."""
        own = [
            (coefficients if self._to_own is None else coefficients.index_select(0, self._to_own), rows)
            for coefficients, rows in terms
        ]
        sizes = [len(group.layers) for group in self.groups]
        found: dict[str, Tensor] = {}
        for number, (begin, size) in enumerate(zip(accumulate([0, *sizes]), sizes, strict=False)):
            total: Tensor | None = None
            for coefficients, rows in own:
                one, other = coefficients.narrow(0, begin, size), rows.products[number]
                one, other = (other.mT, one.mT) if self.columns else (one, other)
                total = torch.bmm(one, other) if total is None else torch.baddbmm(total, one, other)
            assert total is not None
            names = (self.names[layer] for layer in self.groups[number].layers)
            found |= zip(names, total.unbind(), strict=True)
        return found

    @cached_property
    def _own(self) -> tuple[str, ...]:
        return tuple(layer for group in self.groups for layer in group.layers)

    @cached_property
    def _from_own(self) -> Int[Tensor, " layers"] | None:
        return self._moved(self._own, self.order)

    @cached_property
    def _to_own(self) -> Int[Tensor, " layers"] | None:
        return self._moved(self.order, self._own)

    def _moved(self, of: tuple[str, ...], to: tuple[str, ...]) -> Tensor | None:
        places = {layer: place for place, layer in enumerate(of)}
        return None if of == to else torch.tensor([places[layer] for layer in to], device=self.device)


Members = Sequence[tuple[Factor, tuple[str, ...]]]
"""Factors, each with the layers that share it."""


def stacked(
    members: Members, scales: Mapping[str, float], device: torch.device, dtype: torch.dtype
) -> tuple[Group, ...]:
    """Stack factors that fit together; each is multiplied by the number of its first layer."""
    alike: dict[tuple[int, int, bool, bool], list[tuple[Factor, tuple[str, ...]]]] = {}
    for factor, layers in members:
        kind = (factor.size, len(layers), factor.tail > 0, apart(factor, device, dtype))
        alike.setdefault(kind, []).append((factor, layers))
    groups: list[Group] = []
    for (size, shared, tailed, left), found in alike.items():
        if left:
            parts = [found]
        else:
            found.sort(key=lambda member: -member[0].rank)
            sizes = cut([factor.rank for factor, _ in found])
            parts = [found[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
        for part in parts:
            factors, numbers = [factor for factor, _ in part], [scales.get(layers[0], 1.0) for _, layers in part]
            stack = Apart.of(factors, numbers, dtype) if left else Together.of(factors, numbers, device, dtype)
            tails = [factor.tail * number for factor, number in zip(factors, numbers, strict=True)]
            column = _column(tails, device, dtype) if tailed else None
            groups.append(Group(stack, tuple(layer for _, layers in part for layer in layers), shared, size, column))
    return tuple(groups)


def identities(
    sizes: Mapping[str, int], scales: Mapping[str, float], device: torch.device, dtype: torch.dtype
) -> tuple[Group, ...]:
    """Stack multiples of the identity."""
    alike: dict[int, list[str]] = {}
    for layer, size in sizes.items():
        alike.setdefault(size, []).append(layer)
    return tuple(
        Group(Identity(_column([scales.get(layer, 1.0) for layer in layers], device, dtype)), tuple(layers), 1, size)
        for size, layers in alike.items()
    )


def _column(numbers: Iterable[float], device: torch.device, dtype: torch.dtype) -> Float[Tensor, "n 1 1"]:
    return torch.tensor(list(numbers), dtype=torch.float64).sqrt().to(dtype).to(device)[:, None, None]
