"""The n-th step towards the disk below a folder fails: an open for writing, a write, a sync, a rename, a removal."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from typing_extensions import Self

_WRITING = os.O_WRONLY | os.O_RDWR
_RENAMES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")


class Failing:
    """Counts the steps below a folder, and lets one fail.

    Attributes:
        steps: So many were taken or tried.
        failed: What failed, as `write …/metrics.jsonl`; empty where nothing did.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = str(folder)
        self._number = number
        self.steps = 0
        self.failed = ""

    def step(self, kind: str, path: object, before: Callable[[], object] = lambda: None) -> None:
        """Take one; the n-th does what is given and fails."""
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if not name.startswith(self._folder) or name.endswith(".lock"):
            return
        self.steps += 1
        if self.steps - 1 == self._number:
            self.failed = f"{kind} {name}"
            before()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


class _File:
    """A file whose writes are steps; the one that fails leaves half of what it was given."""

    def __init__(self, file: Any, path: object, failing: Failing) -> None:
        self._file, self._path, self._failing = file, path, failing

    def write(self, data: Any) -> Any:
        self._failing.step("write", self._path, lambda: self._file.write(data[: len(data) // 2]))
        return self._file.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_failing: list[Failing] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _failing and (event in _RENAMES or (event == "open" and arguments[2] and arguments[2] & _WRITING)):
        _failing[-1].step(event, arguments[0])


sys.addaudithook(_audit)  # for good; it does nothing outside `nth_fails`


@contextlib.contextmanager
def nth_fails(folder: Path, number: int) -> Generator[Failing, None, None]:
    """Within, the n-th step below the folder fails as on a full disk; all others are taken."""
    failing = Failing(folder, number)
    true_open, true_sync, true_save = io.open, os.fsync, torch.save
    true_serialize = safetensors.torch.serialize_file

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        found = true_open(file, mode, *arguments, **options)
        return found if mode in ("r", "rb") or isinstance(file, int) else _File(found, file, failing)

    def synced(descriptor: int) -> None:
        failing.step("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        true_sync(descriptor)

    def saved(value: Any, file: Any, *arguments: Any, **options: Any) -> None:
        failing.step("torch.save", file, lambda: Path(file).write_bytes(b"half"))
        true_save(value, file, *arguments, **options)

    def serialized(tensors: Any, file: Any, *arguments: Any, **options: Any) -> None:
        failing.step("safetensors", file, lambda: Path(file).write_bytes(b"half"))
        true_serialize(tensors, file, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        patch.setattr(os, "fsync", synced)
        patch.setattr(torch, "save", saved)
        patch.setattr(safetensors.torch, "serialize_file", serialized)
        _failing.append(failing)
        try:
            yield failing
        finally:
            _failing.pop()
