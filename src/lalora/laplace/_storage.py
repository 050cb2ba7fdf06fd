"""A Laplace as a folder of one safetensors file and one JSON file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lalora.errors import LaloraError

FORMAT = 1
TENSORS = "laplace.safetensors"
DESCRIPTION = "laplace.json"


def write(folder: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write both files, each in one step; the description, which holds the checksums, goes last.

    Args:
        folder: Made where missing.
        tensors: By name.
        description: JSON-ready.

    Raises:
        LaloraError: If the folder cannot be written.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(content, metadata={"format": "pt"})
    body = {"format": FORMAT, **description, "tensors_sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps({**body, "sha256": _checksum(body)}, indent=2, sort_keys=True, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / TENSORS, data)
        _replace(folder / DESCRIPTION, f"{text}\n".encode())
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
    description_file, tensors_file = folder / DESCRIPTION, folder / TENSORS
    for file in (description_file, tensors_file):
        if not file.is_file():
            raise LaloraError(f"'{folder}' is not a Laplace: '{file.name}' is missing; fit it again or fetch it again")
    try:
        body = json.loads(description_file.read_text(encoding="utf-8"))
        stated = body.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise LaloraError(f"'{description_file}' is truncated or altered: fetch it again or fit again") from error
    if isinstance(body.get("format"), int) and body["format"] > FORMAT:
        raise LaloraError(
            f"'{description_file}' has format {body['format']}, this lalora reads {FORMAT}: upgrade lalora"
        )
    data = tensors_file.read_bytes()
    for file, found, expected in (
        (description_file, _checksum(body), stated),
        (tensors_file, hashlib.sha256(data).hexdigest(), body.get("tensors_sha256")),
    ):
        if found != expected:
            raise LaloraError(f"'{file}' is truncated or altered (wrong SHA-256): fetch it again or fit again")
    try:
        return safetensors.torch.load(data), body
    except SafetensorError as error:
        raise LaloraError(f"'{tensors_file}' is not a safetensors file: {error}") from error


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _replace(file: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
