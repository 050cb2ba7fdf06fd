"""What a result depends on, so that finished work is found again and never taken for something else."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lalora.errors import LaloraError
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.study.store.records import read_json
from lalora.version import __version__

Identity = Mapping[str, Any]
CONFIG = "config.json"
_SAMPLE = 1024


def versions() -> dict[str, str]:
    """List the releases that change results."""
    libraries = {name: version(name) for name in ("torch", "transformers", "peft", "lm_eval")}
    return {"lalora": __version__, **libraries}


def key(identity: Identity) -> str:
    """Shorten an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def first_difference(then: Identity, now: Identity) -> str:
    """Name what changed between two identities."""
    for name in sorted({*then, *now}):
        old, new = then.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old != new:
            return first_difference(old, new)
        if old != new:
            return f"{name} was {old!r} and is {new!r} now"
    return "nothing differs"


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


def require_same_run(folder: Path, identity: Identity) -> None:
    """Refuse a folder that holds another run."""
    config = read_json(folder / CONFIG)
    if config is None:
        return
    if not (isinstance(config, dict) and "key" in config and isinstance(config.get("identity"), dict)):
        raise LaloraError(f"{folder / CONFIG}: this folder holds something else than a run; choose another --out")
    if config["key"] != key(identity):
        raise LaloraError(
            f"{folder} holds a run with other settings ({first_difference(config['identity'], identity)}); "
            "choose another --out, or delete that folder"
        )
