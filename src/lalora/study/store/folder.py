"""The folder of a study: writable, with room, and written by one process at a time."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from torch import nn

from lalora import processes
from lalora.adapter import trainable_tensors
from lalora.errors import LaloraError, one_line
from lalora.files import UNFINISHED, whole_folder

_LEAST_ROOM = 64 * 2**20
# An adapter, its two AdamW moments, and room for the checkpoint that replaces the last one.
_COPIES_A_RUN = 1 + 3 * 3
# Files lie at most so deep in the folder of a study.
_ANY_DEPTH = ("", "*/", "*/*/")
_fresh: list[tempfile.TemporaryDirectory[str]] = []


@contextlib.contextmanager
def held(folder: Path) -> Generator[Path, None, None]:
    """Hold a folder for writing, made where missing."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise LaloraError(f"{folder}: another lalora is at work here; wait for it or choose another --out") from error
    except OSError as error:
        raise LaloraError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        require_room(folder, _LEAST_ROOM)
        _drop_unfinished(folder)
        yield folder
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # a folder stays where anything was written
            for place in made:
                place.rmdir()


@contextlib.contextmanager
def held_for_all(folder: Path) -> Generator[None, None, None]:
    """Hold a folder that the main process alone writes, or fail in all processes."""
    with contextlib.ExitStack() as stack:
        with processes.on_all_ranks():
            if processes.is_main():
                stack.enter_context(held(folder))
        yield


@contextlib.contextmanager
def whole(folder: Path) -> Generator[Path, None, None]:
    """Make a folder that appears with everything in it or not at all; yields an empty one beside it, to write to."""
    require_absent(folder)
    with saving(folder), whole_folder(folder) as partial:
        yield partial


def require_absent(folder: Path) -> None:
    """Refuse a place where something is, or where nothing can be made, before anything is computed for it."""
    if folder.exists() or folder.is_symlink():
        raise LaloraError(f"{folder} is there already: choose another --out, or remove it")
    require_writable(folder)


@contextlib.contextmanager
def saving(folder: Path) -> Generator[None, None, None]:
    """End in one line where something cannot be saved, which every library says in its own way."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LaloraError(f"{folder}: cannot be saved ({one_line(error)}); make room and run again") from error


def fresh_folder() -> Path:
    """Make an empty folder that only this user can write to, for as long as this process lives.

    What a task of the harness is made from may run code, so none is read from the folder of a study, which others may
    have made.
    """
    _fresh.append(tempfile.TemporaryDirectory(prefix="lalora-"))
    return Path(_fresh[-1].name)


def require_writable(file: Path) -> None:
    """Refuse a place where no file can be written, before anything is computed for it; its folder may be missing."""
    above = next(place for place in file.absolute().parents if place.exists())
    if file.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise LaloraError(f"{file}: cannot be written; choose another --out")


def require_room_for_runs(folder: Path, model: nn.Module, runs: int, kept: int = 0) -> None:
    """Refuse a disk that cannot hold the adapters of so many runs, and of one its checkpoints and `kept` adapters."""
    adapter = 4 * sum(tensor.numel() for tensor in trainable_tensors(model).values())
    require_room(folder, adapter * (runs + _COPIES_A_RUN + kept))


def require_room(folder: Path, needed: int) -> None:
    """Refuse a disk that has fewer bytes free than needed; the folder may be missing."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free
    if free < needed:
        raise LaloraError(
            f"{folder}: {free / 2**20:.0f} MiB free, about {needed / 2**20:.0f} MiB needed; "
            "make room or choose another --out"
        )


def _drop_unfinished(folder: Path) -> None:
    # Whoever holds the folder is alone, so these were left by a process that was killed.
    for depth in _ANY_DEPTH:
        for leftover in folder.glob(f"{depth}.*{UNFINISHED}"):
            leftover.unlink(missing_ok=True)
