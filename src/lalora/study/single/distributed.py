"""One fit or fine-tuning in several processes, which `accelerate launch` or `torchrun` started."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from lalora import processes
from lalora.errors import LaloraError, one_line

# The others wait while the main process measures or writes text, so it is no short time.
_PATIENCE_MINUTES = 60.0
_PATIENCE = "LALORA_TIMEOUT_MINUTES"


def join(world_size: int) -> None:
    """Let the processes find each other; one alone has nothing to do."""
    if world_size == 1:
        return
    limit = _patience()
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not on_cpu and here > torch.accelerator.device_count():
        raise LaloraError(
            f"{here} processes and {torch.accelerator.device_count()} devices on this machine: start one a device"
        )
    try:
        PartialState(cpu=on_cpu, timeout=limit)
    except (RuntimeError, ValueError) as error:  # every backend has its own words for it
        raise LaloraError(
            f"the {world_size} processes did not find each other within {limit.total_seconds() / 60:g} minutes "
            f"({one_line(error, 200)}): start all of them with one MASTER_ADDR and MASTER_PORT; {_PATIENCE} "
            "sets the time"
        ) from error


def _patience() -> timedelta:
    text = os.environ.get(_PATIENCE, str(_PATIENCE_MINUTES))
    try:
        minutes = float(text)
        if not 0 < minutes <= 60 * 24 * 30:
            raise ValueError(text)
    except ValueError as error:
        raise LaloraError(f"{_PATIENCE} must be a number of minutes above 0, not '{text}'") from error
    return timedelta(minutes=minutes)


def leave() -> None:
    """Part, when all is done. Not after an error: this waits for whatever was sent, and others may be gone."""
    if processes.world_size() > 1:
        dist.destroy_process_group()
        PartialState._reset_state()
