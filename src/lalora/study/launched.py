"""One fit or fine-tuning in several processes, which `accelerate launch` or `torchrun` started."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from lalora import processes
from lalora.errors import LaloraError

# The others wait while the main process measures or writes text; when one ends, the launcher ends them all.
_PATIENCE = timedelta(days=1)


def join(launched: int) -> None:
    """Let the processes find each other; one alone has nothing to do.

    Args:
        launched: How many there are.

    Raises:
        LaloraError: If there are more of them on this machine than devices.
    """
    if launched == 1:
        return
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not on_cpu and here > torch.accelerator.device_count():
        raise LaloraError(
            f"{here} processes and {torch.accelerator.device_count()} devices on this machine: start one a device"
        )
    PartialState(cpu=on_cpu, timeout=_PATIENCE)


def leave() -> None:
    """Part, when all is done. Not after an error: this waits for whatever was sent, and others may be gone."""
    if processes.count() > 1:
        dist.destroy_process_group()
        PartialState._reset_state()
