"""Files of a study handed from machine to machine through a place that all of them reach by its URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.core import url_to_fs

from lalora.errors import LaloraError, one_line
from lalora.files import UNFINISHED, write_atomically

_OWN = (".lock", UNFINISHED)
"""Endings of files that mean something on their own machine alone."""


@dataclass(frozen=True)
class Place:
    """A folder behind a URL, such as `s3://bucket/study` or `file:///mnt/study`.

    Attributes:
        url: In any of fsspec's protocols.
    """

    url: str

    def check(self) -> None:
        """Refuse a place where nothing can be put."""
        try:
            files, root = self._open()
            files.makedirs(root, exist_ok=True)
            files.pipe_file(f"{root}/.lalora", b"")
        except (OSError, ValueError, ImportError) as error:
            raise LaloraError(f"--share {self.url}: nothing can be put there ({one_line(error)})") from error

    def send(self, folder: Path, name: str) -> None:
        """Put the files of a folder there.

        What lies deeper goes later, and what was written later goes later, so that a file which says that others are
        complete follows them: the state of a checkpoint its tensors, and a checkpoint the metrics up to it.
        """
        files, root = self._open()
        here = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(_OWN)]
        for path in sorted(here, key=lambda path: (len(path.parts), path.stat().st_mtime_ns)):
            there = f"{root}/{name}/{path.relative_to(folder).as_posix()}"
            files.makedirs(there.rpartition("/")[0], exist_ok=True)
            files.put_file(str(path), there)

    def fetch(self, name: str, folder: Path) -> None:
        """Bring the files of a folder that are not here, or of another size."""
        files, root = self._open()
        found = files.find(f"{root}/{name}", detail=True) if files.exists(f"{root}/{name}") else {}
        for there, entry in found.items():
            path = folder / PurePosixPath(there).relative_to(f"{root}/{name}")
            if not path.exists() or path.stat().st_size != entry["size"]:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, files.cat_file(there))

    def drop(self, name: str) -> None:
        """Delete a folder there."""
        files, root = self._open()
        if files.exists(f"{root}/{name}"):
            files.rm(f"{root}/{name}", recursive=True)

    def _open(self) -> tuple[fsspec.AbstractFileSystem, str]:
        files, root = url_to_fs(self.url)
        # What another machine put there since counts too.
        files.invalidate_cache()
        return files, root.rstrip("/")
