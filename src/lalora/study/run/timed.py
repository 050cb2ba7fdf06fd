"""What a piece of work takes: seconds, and memory."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from lalora.study.store.records import Row

T = TypeVar("T")
# Linux forgets a process's peak of memory when told so by the first, and tells peak and present use in the second.
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def timed(work: Callable[[], T]) -> tuple[T, Row]:
    """Do it, and tell its seconds, bytes held after it, the most held within it, and those of the allocator."""
    _forget_peak()
    began = time.perf_counter()
    result = work()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return result, {"seconds": time.perf_counter() - began, **memory()}


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR.exists():
        with contextlib.suppress(OSError):  # where a process may not, its peak is that of its whole life
            _CLEAR.write_text("5")


def memory() -> Row:
    """Return the bytes held now, the most since the peak was forgotten, and what the allocator holds now."""
    if torch.cuda.is_available():
        now, most = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        return {"allocated": now, "peak": most, "reserved": torch.cuda.memory_reserved()}
    if not _STATUS.exists():
        return {"allocated": None, "peak": None, "reserved": None}
    told = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    resident, most = (int(told[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return {"allocated": resident, "peak": most, "reserved": None}
