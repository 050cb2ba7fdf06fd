"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path

UNFINISHED = ".lalora-part"
"""How the name of a file ends that is still being written, or whose writer was killed."""


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
