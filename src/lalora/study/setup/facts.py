"""What results depend on besides settings and data: weights, precision, device, releases."""

import hashlib
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.version import __version__

_SAMPLE = 1024


def versions() -> dict[str, str]:
    """List the releases that change results."""
    libraries = {name: version(name) for name in ("torch", "transformers", "peft", "lm_eval")}
    return {"lalora": __version__, **libraries}


def weights_hash(model: nn.Module) -> str:
    """Tell models apart by their weights."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // _SAMPLE)].float().cpu()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def facts(base: nn.Module, dtype: str) -> dict[str, Any]:
    """Write down what results depend on besides settings and data."""
    return {
        "weights": weights_hash(base),
        "dtype": str(resolve_dtype(dtype)).removeprefix("torch."),
        "device": device().type,
        "versions": versions(),
    }
