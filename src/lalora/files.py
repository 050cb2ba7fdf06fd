"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

UNFINISHED = ".lalora-part"
"""How the name of a file ends that is still being written, or whose writer was killed."""


def is_of_the_disk(error: BaseException) -> bool:
    """Tell whether an error is about room or permission, which the next thing that is written meets as well.

    Args:
        error: Any.

    Returns:
        Whether it is.
    """
    return isinstance(error, OSError) and error.errno in _DISK


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in one piece: a reader sees the old one or the new one, with the permissions the user's umask gives.

    Args:
        path: Where to; its folder exists.
        data: The content.

    Raises:
        OSError: The file cannot be written; it names the file, and nothing is left of the attempt.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
