"""Peak memory of a call: resident set of a forked child on the CPU, the allocator's count on a GPU."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection

import psutil
import torch


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Measure the most memory that a call holds at once, beyond what was there before.

    Python's own tracer does not see tensors, and the recorded peak of a process never falls. So on the CPU each call
    runs in a child, which shares the pages of this process and has one thread, since a fork copies no other threads.
    Autograd refuses to run in a child of a process that used it: call this before the first backward pass.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    context = multiprocessing.get_context("fork")
    answer, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(work, send))
    child.start()
    send.close()
    try:
        found = answer.recv()
    except EOFError:
        raise MemoryError("the process was ended, most likely for want of memory") from None
    finally:
        child.join()
    if isinstance(found, Exception):
        raise found
    return int(found)


def _child(work: Callable[[], object], send: Connection) -> None:
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    try:
        work()
    except Exception as error:  # the parent raises it
        send.send(error)
        return
    send.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
