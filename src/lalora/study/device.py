"""Where a study computes, and in which precision the frozen weights are kept."""

from pathlib import Path

import torch
from accelerate import PartialState

from lalora import processes
from lalora.errors import LaloraError

DTYPES = ("auto", "float32", "bfloat16")
_CPU_FLAGS = Path("/proc/cpuinfo")


def device() -> torch.device:
    """Choose the device.

    Returns:
        The machine's accelerator, or the CPU; with several processes each has its own.
    """
    if processes.count() > 1:
        own: torch.device = PartialState().device
        return own
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def resolve_dtype(name: str) -> torch.dtype:
    """Choose the precision of the frozen weights.

    Args:
        name: One of `DTYPES`: `auto` is bfloat16 where the device multiplies it natively.

    Returns:
        The dtype.

    Raises:
        LaloraError: If it is none of them.
    """
    if name == "auto":
        return torch.bfloat16 if _multiplies_bfloat16() else torch.float32
    if name not in DTYPES:
        raise LaloraError(f"dtype '{name}' is not served: choose {', '.join(DTYPES)}")
    found: torch.dtype = getattr(torch, name)
    return found


def _multiplies_bfloat16() -> bool:
    if device().type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch tells since 2.11 only; a system without this file computes in float32, which is never wrong.
    flags = _CPU_FLAGS.read_text() if device().type == "cpu" and _CPU_FLAGS.exists() else ""
    return any(feature in flags for feature in ("amx_bf16", "avx512_bf16", "svebf16"))
