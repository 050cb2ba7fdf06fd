"""The last file of a run, which says that it is finished and what its files hold."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from lalora.files import write_json
from lalora.study.store.records import read_json

METRICS, TIMING, ADAPTER = "metrics.jsonl", "timing.jsonl", "adapter_model.safetensors"
AFTER = "after.jsonl"
"""What each part of what was done after training took."""
DONE = "done.json"
_HASHED = (METRICS, ADAPTER)


def is_done(folder: Path, identity_key: str) -> bool:
    """Tell whether a run is finished under this identity, and its files hold what was written."""
    return _written(folder).get("key") == identity_key and damaged(folder) is None


def damaged(folder: Path) -> Path | None:
    """Return a file of a finished run that does not hold what was written; None where all do, or it never finished."""
    marker = folder / DONE
    if not marker.exists():
        return None
    hashes = _written(folder).get("sha256")
    # Of these files and no others: a name that somebody else wrote there is not followed.
    if not isinstance(hashes, dict) or set(hashes) != set(_HASHED):
        return marker
    return next((folder / name for name in _HASHED if _sha256(folder / name) != hashes[name]), None)


def threads(folder: Path) -> int | None:
    """Return with how many threads a finished run was computed, which changes the last digits and nothing else."""
    found: int | None = _written(folder).get("threads")
    return found


def mark_done(folder: Path, identity_key: str) -> None:
    """Write the last file of a run, when all its others are there."""
    hashes = {name: _sha256(folder / name) for name in _HASHED}
    write_json(folder / DONE, {"key": identity_key, "threads": torch.get_num_threads(), "sha256": hashes})


def _written(folder: Path) -> dict[str, Any]:
    found = read_json(folder / DONE)
    return found if isinstance(found, dict) else {}


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
