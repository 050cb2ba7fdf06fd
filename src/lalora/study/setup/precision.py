"""The precision in which the frozen weights are kept."""

from pathlib import Path

import torch

from lalora.errors import LaloraError
from lalora.study.setup.device import device

DTYPES = ("auto", "float32", "bfloat16")
_CPU_FLAGS = Path("/proc/cpuinfo")


def resolve_dtype(name: str) -> torch.dtype:
    """Look up the dtype of one of `DTYPES`; `auto` is bfloat16 where the device multiplies it natively."""
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
