"""Files that appear whole or not at all."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
_MOST_DIGITS = 30

UNFINISHED = ".lalora-part"
"""How the name of a file ends that is still being written, or whose writer was killed."""


def is_path(text: str) -> bool:
    """Tell whether a text is written as a path, and so is neither a name nor an id on the Hugging Face hub."""
    return text.startswith((".", "/", "~"))


def is_of_the_disk(error: BaseException) -> bool:
    """Tell whether an error is about room or permission, which the next thing that is written meets as well."""
    return isinstance(error, OSError) and error.errno in _DISK


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in one piece: a reader sees the old one or the new one. Permissions are those of the umask."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def whole_folder(folder: Path) -> Generator[Path, None, None]:
    """Make a folder that appears with everything in it or not at all."""
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.replace(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(folder: Path) -> None:
    # Names reach the disk in the order in which files were written, so that after a power cut none names a missing one.
    with contextlib.suppress(OSError):  # of a system or a file system that syncs no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_small(path: Path, most: int = 1 << 27) -> str:
    """Read a text file of somebody else's: what is no regular file, too large or not UTF-8 is a ValueError."""
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is no regular file")
    if size > most:
        raise ValueError(f"it has {size:,} bytes, more than the {most:,} that are read")
    return path.read_text(encoding="utf-8")


def json_bytes(value: Any) -> bytes:
    """Spell a value as every JSON file of ours is."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one piece; its folder exists."""
    write_atomically(path, json_bytes(value))


def parse_json(text: str) -> Any:
    """Parse JSON whose nesting and whole numbers are bounded; anything else is a ValueError."""
    try:
        return json.loads(text, parse_int=_bounded)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _bounded(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it holds a number of {len(digits):,} digits")
    return int(digits)
