"""Memory, file size and time of a fit, before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from lalora.curvature import FITTED, WeightSpace
from lalora.fisher import held
from lalora.planning._traced import Traced, traced

RANKS = (64, 128, None)
_WIDE = 4  # bytes of what is summed up
# Copies of a matrix while all of it is decomposed: symmetrised, eigenvectors, workspace.
_COPIES = 6
# Of the logits in float32: themselves, log-probabilities, and the gradient times its scale.
_LOGITS = 3
_PASSES = 4
"""Operations for each weight and token: two forward, two for the gradients of activations."""


@dataclass(frozen=True)
class Cost:
    """What a fit with one curvature takes.

    Attributes:
        curvature: Its name.
        rank: Most eigenvectors of a factor; None for all.
        device: Bytes at the peak where the model is, with its weights.
        host: Bytes of the result in main memory, which on a CPU is part of the peak already.
        file: Bytes of the file.
        operations: Floating-point operations.
    """

    curvature: str
    rank: int | None
    device: int
    host: int
    file: int
    operations: float


@dataclass(frozen=True)
class Plan:
    """What fits of a model take.

    Attributes:
        model: What the model shows on one batch.
        tokens: Number of source tokens.
        pass_bytes: What a batch takes besides the weights.
        costs: By curvature and rank.
    """

    model: Traced
    tokens: int
    pass_bytes: int
    costs: tuple[Cost, ...]


def plan(
    config: PretrainedConfig,
    dtype: torch.dtype,
    *,
    target_modules: str | Sequence[str] = "all-linear",
    adapter_rank: int | None = 16,
    sources: int = 1,
    rows: int = 32,
    batch_size: int = 4,
    length: int = 512,
    on_cpu: bool = False,
) -> Plan:
    """Work out what a fit of each curvature would take, from the configuration of a model: no weight is loaded.

    Args:
        config: Of the model.
        dtype: Of its weights.
        target_modules: As in `peft.LoraConfig`.
        adapter_rank: Rank of the adapter; None for a fit of the base model alone.
        sources: Number of source data sets.
        rows: Rows of each.
        batch_size: Rows a batch.
        length: Tokens a row, all of which count as completion.
        on_cpu: Whether model and result share one memory.

    Returns:
        Bytes and operations.

    Raises:
        LaloraError: If the model is no causal language model, has no such layers, or cannot be passed without weights.
    """
    model = traced(config, dtype, target_modules, adapter_rank, batch_size, length)
    logits = batch_size * length * model.vocabulary * (_LOGITS * _WIDE + dtype.itemsize)
    setting = _Setting(model, adapter_rank, sources, rows * length, model.saved_bytes + logits, on_cpu)
    costs: list[Cost] = []
    for name, kind in FITTED.items():
        if adapter_rank is None and not issubclass(kind, WeightSpace):
            continue
        if kind.statistic == "factors":
            costs += [setting.of_factors(name, rank) for rank in RANKS]
        else:
            costs.append(setting.of_squares(name, weights=kind.statistic == "weight squares"))
    return Plan(model, sources * rows * length, setting.passed, tuple(costs))


@dataclass(frozen=True)
class _Setting:
    model: Traced
    adapter_rank: int | None
    sources: int
    tokens: int
    passed: int
    on_cpu: bool

    @property
    def adapter(self) -> int:
        """Number of weights of the adapter."""
        return sum(sum(shape) for shape in self.model.shapes.values()) * (self.adapter_rank or 0)

    @property
    def operations(self) -> float:
        """Of the passes over all tokens."""
        return float(_PASSES) * self.model.weights * self.tokens * self.sources

    def of_factors(self, curvature: str, rank: int | None) -> Cost:
        """Plan for X and G of every layer."""
        sizes, every = self.model.sizes, self.tokens * self.sources
        # While the second source is collected, the sum of those before it is there.
        collected = sum(size * held(size, every, rank) for size in sizes) * _WIDE
        if self.sources > 1:
            collected += sum(size * held(size, self.tokens, rank) for size in sizes) * _WIDE
        found = sum((size + 1) * _rank(size, every, rank) for size in sizes)
        # A CPU's allocator gives nothing back to be used again before the end; on a CPU the result comes on top.
        working = max(_working(size, every, rank) for size in sizes)
        besides = self.passed + found * _WIDE if self.on_cpu else max(self.passed, working)
        operations = self.operations + sum(_operations(size, every, rank) for size in sizes)
        return self._cost(curvature, rank, collected + besides, found, operations)

    def of_squares(self, curvature: str, weights: bool) -> Cost:
        """Plan for squared gradients."""
        entries = self.model.layer_weights if weights else self.adapter
        # Of the batch, of the source, per token, and of the sources before.
        collected = _WIDE * entries * (2 + min(self.sources, 2))
        more = 2.0 * self.tokens * self.sources * entries
        return self._cost(curvature, None, collected + self.passed, entries, self.operations + more)

    def _cost(self, curvature: str, rank: int | None, taken: int, found: int, operations: float) -> Cost:
        weights = self.model.weight_bytes + _WIDE * self.adapter
        # The file of a base model is in bfloat16; that of an adapter holds its start, as mean and as anchor.
        narrow = torch.bfloat16.itemsize if self.adapter_rank is None else _WIDE
        start = 2 * _WIDE * self.adapter
        return Cost(curvature, rank, weights + taken, found * _WIDE + start, found * narrow + start, operations)


def _rank(size: int, tokens: int, rank: int | None) -> int:
    return min(size, tokens, size if rank is None else rank)


def _working(size: int, tokens: int, rank: int | None) -> int:
    """Bytes besides the sum itself while it is decomposed."""
    rows, kept = held(size, tokens, rank), _rank(size, tokens, rank)
    if rows < size:
        return 8 * (rows * size + 4 * rows * rows + 2 * size * kept)
    return _WIDE * (_COPIES * size * size if kept == size else 4 * size * kept)


def _operations(size: int, tokens: int, rank: int | None) -> float:
    rows, kept = held(size, tokens, rank), _rank(size, tokens, rank)
    if rows == size:
        return 2.0 * tokens * size * size + (5.0 * math.pow(size, 3) if kept == size else 20.0 * size * size * kept)
    if tokens <= rows:
        return 2.0 * rows * rows * size + 10.0 * math.pow(rows, 3) + 2.0 * rows * size * kept
    return tokens * (20.0 * kept * size + 40.0 * kept * kept)
