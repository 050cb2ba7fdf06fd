"""The folder of a study: writable, with room, and written by one process at a time."""

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from lalora.errors import LaloraError

_LEAST_ROOM = 64 * 2**20


@contextlib.contextmanager
def held(folder: Path) -> Generator[Path, None, None]:
    """Hold a folder for writing.

    Args:
        folder: Made where missing.

    Yields:
        The folder.

    Raises:
        LaloraError: If it cannot be written, has no room, or another process holds it.
    """
    made = not folder.exists()
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
        yield folder
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # it stays where anything was written
                folder.rmdir()


def require_room(folder: Path, needed: int) -> None:
    """Refuse a disk that is too full.

    Args:
        folder: On that disk.
        needed: Bytes.

    Raises:
        LaloraError: If less is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LaloraError(
            f"{folder}: {free / 2**20:.0f} MiB free, about {needed / 2**20:.0f} MiB needed; "
            "make room or choose another --out"
        )
