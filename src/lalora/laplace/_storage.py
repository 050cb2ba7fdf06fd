"""A Laplace as a folder of one safetensors file and one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lalora.errors import LaloraError
from lalora.files import write_atomically

FORMAT = 1
TENSORS = "laplace-*.safetensors"
DESCRIPTION = "laplace.json"


def write(folder: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write both files; the description, which names the other and holds the checksums, makes the switch.

    Killed at any moment, the folder holds what it held before or what was to be written.

    Args:
        folder: Made where missing.
        tensors: By name.
        description: JSON-ready.

    Raises:
        LaloraError: If the folder cannot be written.
    """
    content: dict[str, Tensor] = {}
    memory: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory, as the parts of a sum do.
        content[name] = flat.clone() if flat.data_ptr() in memory else flat
        memory.add(flat.data_ptr())
    data = safetensors.torch.save(content, metadata={"format": "pt"})
    digest = hashlib.sha256(data).hexdigest()
    name = TENSORS.replace("*", digest[:8])
    body = {"format": FORMAT, **description, "tensors": name, "tensors_sha256": digest}
    text = json.dumps({**body, "sha256": _checksum(body)}, indent=2, sort_keys=True, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, data)
        write_atomically(folder / DESCRIPTION, f"{text}\n".encode())
        for old in folder.glob(TENSORS):
            if old.name != name:
                old.unlink()
    except OSError as error:
        raise LaloraError(f"cannot write a Laplace to '{folder}': {error.strerror}") from error


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read both files.

    Args:
        folder: Where they lie.

    Returns:
        Tensors by name, and the description.

    Raises:
        LaloraError: If a file is missing, truncated, altered, or of a newer format.
    """
    description_file = folder / DESCRIPTION
    if not description_file.is_file():
        raise LaloraError(f"'{folder}' is not a Laplace: '{DESCRIPTION}' is missing; fit it again or fetch it again")
    try:
        body = json.loads(description_file.read_text(encoding="utf-8"))
        stated = body.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise LaloraError(f"'{description_file}' is truncated or altered: fetch it again or fit again") from error
    if isinstance(body.get("format"), int) and body["format"] > FORMAT:
        raise LaloraError(
            f"'{description_file}' has format {body['format']}, this lalora reads {FORMAT}: upgrade lalora"
        )
    if _checksum(body) != stated:
        raise LaloraError(f"'{description_file}' is truncated or altered (wrong SHA-256): fetch it again or fit again")
    tensors_file = folder / body["tensors"]
    if not tensors_file.is_file():
        raise LaloraError(
            f"'{folder}' is not a Laplace: '{tensors_file.name}' is missing; fit it again or fetch it again"
        )
    data = tensors_file.read_bytes()
    if hashlib.sha256(data).hexdigest() != body["tensors_sha256"]:
        raise LaloraError(f"'{tensors_file}' is truncated or altered (wrong SHA-256): fetch it again or fit again")
    try:
        return safetensors.torch.load(data), body
    except SafetensorError as error:
        raise LaloraError(f"'{tensors_file}' is not a safetensors file: {error}") from error


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
