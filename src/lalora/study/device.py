"""Where a study computes, and in which precision the frozen weights are kept."""

import torch


def device() -> torch.device:
    """Choose the device.

    Returns:
        The machine's accelerator, or the CPU.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def resolve_dtype(name: str) -> torch.dtype:
    """Choose the precision of the frozen weights.

    Args:
        name: `float32`, `bfloat16`, or `auto` for bfloat16 where the device multiplies it natively.

    Returns:
        The dtype.
    """
    if name == "auto":
        return torch.bfloat16 if _multiplies_bfloat16() else torch.float32
    return torch.float32 if name == "float32" else torch.bfloat16


def _multiplies_bfloat16() -> bool:
    if device().type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device().type != "cpu":
        return False
    features = torch.cpu.get_capabilities()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16") or features.get("sve_bf16"))
