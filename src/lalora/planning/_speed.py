"""How fast matrix products are here."""

from __future__ import annotations

import torch
from torch.utils.benchmark import Timer

_SIZE = 1024


def speed(dtype: torch.dtype, device: torch.device) -> float:
    """Measure floating-point operations a second, on one matrix product of common size."""
    left, right = (torch.randn(_SIZE, _SIZE, device=device).to(dtype) for _ in range(2))
    product = Timer("left @ right", globals={"left": left, "right": right}, num_threads=torch.get_num_threads())
    return 2 * _SIZE**3 / float(product.blocked_autorange(min_run_time=0.3).median)
