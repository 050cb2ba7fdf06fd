"""Collectives: what each of several processes found, put together so that all end with the very same.

What gathers, sums, sends or agrees is collective: all processes call it, in the same order. With one process, or where
torch.distributed is not initialised, nothing is sent; `all_reduce` and `broadcast` are for several processes alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lalora.errors import LaloraError, is_known_to_all, make_known_to_all, one_line

_LONGEST = 60
T = TypeVar("T")


def world_size() -> int:
    """Count the processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Tell which process this is."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Tell whether this process writes files and speaks."""
    return rank() == 0


def all_gather(value: T) -> list[T]:
    """Collect a small value from every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def run_on_all_ranks(work: Callable[[], T]) -> list[T]:
    """Work in every process, and fail in all of them where it fails in one: none waits for a process that is gone."""
    if world_size() == 1:
        return [work()]
    result: T | None = None
    error: Exception | None = None
    try:
        result = work()
    except Exception as caught:  # whatever it is, the others have to hear of it, once
        if is_known_to_all(caught):
            raise
        error = caught
    try:
        outcomes = all_gather((result, _line(error)))
    except RuntimeError as broken:  # every backend has its own words for it
        if error is not None:
            raise error from None
        gone = LaloraError("another process is gone; what it said, if anything, stands above")
        make_known_to_all(gone)
        raise gone from broken
    if error is not None:
        make_known_to_all(error)
        raise error
    for other, (_, line) in enumerate(outcomes):
        if line is not None:
            elsewhere = LaloraError(f"process {other} failed: {line}")
            make_known_to_all(elsewhere)
            raise elsewhere
    return [value for value, _ in outcomes]  # type: ignore[misc]  # without an error there is a result


@contextmanager
def on_all_ranks() -> Generator[None, None, None]:
    """Leave a block in all processes at once, or by an error in all: `run_on_all_ranks` for work without a result."""
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    run_on_all_ranks(lambda: _raised(error))


def drain(batches: Iterator[object]) -> None:
    """Take the batches that are left after an error: a loader may hand them out to all processes in step."""
    if world_size() > 1:
        for _ in batches:
            pass


def require_alike(value: object, message: str) -> None:
    """Refuse to go on where the processes hold different values."""
    first, *others = all_gather(value)
    if any(other != first for other in others):
        raise LaloraError(message)


def require_same(facts: Mapping[str, object], remedies: Mapping[str, str] | None = None) -> None:
    """Refuse to begin where the processes were told different things, and say what, who, and what to do about it."""
    first, *others = all_gather({name: repr(value) for name, value in facts.items()})
    for number, other in enumerate(others, start=1):
        for name in first | other:
            value = first.get(name)
            if other.get(name) != value:
                remedy = (remedies or {}).get(name, "start all of them with the same")
                raise LaloraError(
                    f"the processes differ in '{name}': {_shown(value)} in process 0, {_shown(other.get(name))} in "
                    f"process {number}; {remedy}"
                )


def digest(tensors: Iterable[Tensor]) -> str:
    """Hash tensors by their shapes and values, in order."""
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(str(tuple(tensor.shape)).encode())
        # A copy: memory that numpy has seen cannot be let go of, as FSDP does with gathered parameters.
        seen.update(tensor.detach().to("cpu", torch.float64, copy=True).contiguous().numpy().tobytes())
    return seen.hexdigest()


def all_reduce(tensor: Tensor) -> Tensor:
    """Sum a tensor over the processes."""
    carried = _carried(tensor)
    dist.all_reduce(carried)
    return carried.to(tensor.device)


def all_reduce_named(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Sum named tensors over the processes; one that a process does not have is zero there."""
    kinds: dict[str, tuple[torch.Size, torch.dtype]] = {}
    for seen in all_gather({name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}):
        kinds.update(seen)
    sums = {}
    for name in sorted(kinds):
        shape, dtype = kinds[name]
        sums[name] = all_reduce(tensors[name] if name in tensors else torch.zeros(shape, dtype=dtype, device=device))
    return sums


def broadcast(tensor: Tensor, source: int) -> Tensor:
    """Send a tensor from one process to all."""
    carried = _carried(tensor)
    dist.broadcast(carried, source)
    return carried.to(tensor.device)


def _shown(value: str | None) -> str:
    if value is None or len(value) <= _LONGEST:
        return value or "nothing"
    return f"something with the hash {hashlib.sha256(value.encode()).hexdigest()[:8]}"


def _raised(error: Exception | None) -> None:
    if error is not None:
        raise error


def _line(error: Exception | None) -> str | None:
    if error is None or isinstance(error, LaloraError):
        return None if error is None else str(error)
    return f"{type(error).__name__}: {one_line(error)}"


def _carried(tensor: Tensor) -> Tensor:
    # NCCL takes what is on a GPU alone, and a tensor on a device without a backend goes by the one that there is.
    served = [part.split(":")[0] for part in dist.get_backend_config().split(",")]
    return (tensor if tensor.device.type in served else tensor.to(served[0])).contiguous()
