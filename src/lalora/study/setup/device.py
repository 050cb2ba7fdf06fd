"""Where a study computes."""

import torch
from accelerate import PartialState

from lalora import processes


def device() -> torch.device:
    """Choose the machine's accelerator, or the CPU; with several processes each has its own."""
    if processes.world_size() > 1:
        own: torch.device = PartialState().device
        return own
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
