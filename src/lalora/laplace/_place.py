"""Where a Laplace is: in a folder, or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from lalora.errors import LaloraError
from lalora.files import is_path
from lalora.laplace._hub import pull


def laplace_folder(place: str) -> Path:
    """Find the folder of a Laplace, which is fetched where `user/name` is on the hub.

    Raises:
        LaloraError: If there is neither, or the hub cannot be reached.
    """
    folder = Path(place).expanduser()
    if folder.exists() or is_path(place):
        return folder
    if place.count("/") != 1:
        raise LaloraError(f"there is no folder {place}: give what `lalora fit` wrote, or an id on the Hugging Face hub")
    return pull(place)
