"""A Laplace as a folder of one safetensors file and one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lalora.errors import LaloraError, one_line
from lalora.files import write_atomically
from lalora.hub import is_id
from lalora.laplace._json_schema import require_description

FORMAT = 1
TENSORS = "laplace-*.safetensors"
DESCRIPTION = "laplace.json"
_LONGEST_DESCRIPTION = 32 << 20


def write(folder: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write both files; the description, which names the other and holds the checksums, makes the switch.

    Killed at any moment, the folder holds what it held before or what was to be written.
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
    """Read both files, which may come from a stranger: what they say is checked before it is used."""
    description_file = _file(folder, DESCRIPTION)
    body = _description(description_file)
    try:
        require_description(body)
    except LaloraError as error:
        raise LaloraError(f"'{description_file}' is not a Laplace that lalora wrote: {one_line(error)}") from error
    tensors_file = _file(folder, body["tensors"])
    with tensors_file.open("rb") as file:
        digest = _digest(file)
    if digest != body["tensors_sha256"]:
        raise LaloraError(f"'{tensors_file}' is truncated or altered (wrong SHA-256): fetch it again or fit again")
    try:
        # It compares names, types, shapes and places with the size of the file before it takes memory.
        with safetensors.safe_open(tensors_file, framework="pt") as content:
            names = content.keys()
            return {name: content.get_tensor(name) for name in names}, body
    except SafetensorError as error:
        raise LaloraError(f"'{tensors_file}' is not a safetensors file: {one_line(error)}") from error


def _file(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        if not folder.exists() and is_id(folder.as_posix()):
            raise LaloraError(f"there is no folder '{folder}'; if it is on the Hugging Face hub, use Laplace.from_hub")
        raise LaloraError(f"'{folder}' is not a Laplace: '{name}' is missing; fit it again or fetch it again")
    # In the hub's cache a file is a link from `snapshots/<commit>/` to `blobs/`.
    home = folder.resolve()
    if home.parent.name == "snapshots":
        home = home.parents[1]
    if not file.resolve().is_relative_to(home):
        raise LaloraError(f"'{file}' is a link to outside of its folder: put the file itself there")
    return file


def _description(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _LONGEST_DESCRIPTION:
        raise LaloraError(f"'{file}' is larger than {_LONGEST_DESCRIPTION >> 20} MiB, and so not a Laplace")
    try:
        body = json.loads(
            file.read_text(encoding="utf-8"), parse_constant=_not_a_number, object_pairs_hook=_without_duplicates
        )
        stated = body.pop("sha256")
        version = body.get("format")
        newer = isinstance(version, int) and version > FORMAT
        checksum = _checksum(body)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise LaloraError(f"'{file}' is truncated or altered: fetch it again or fit again") from error
    if newer:
        shown = version if version < 10**6 else "of a later day"
        raise LaloraError(f"'{file}' has format {shown}, this lalora reads {FORMAT}: upgrade lalora")
    if checksum != stated:
        raise LaloraError(f"'{file}' is truncated or altered (wrong SHA-256): fetch it again or fit again")
    return dict(body)


def _not_a_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands there twice")
    return found


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
