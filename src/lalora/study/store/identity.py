"""What a result depends on, so that finished work is found again and never taken for something else."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lalora.errors import LaloraError
from lalora.study.store.records import read_json

Identity = Mapping[str, Any]
CONFIG = "config.json"


def key(identity: Identity) -> str:
    """Shorten an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def first_difference(then: Identity, now: Identity) -> str:
    """Name what changed between two identities."""
    for name in sorted({*then, *now}):
        old, new = then.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old != new:
            return first_difference(old, new)
        if old != new:
            return f"{name} was {old!r} and is {new!r} now"
    return "nothing differs"


def require_same_run(folder: Path, identity: Identity) -> None:
    """Refuse a folder that holds another run."""
    config = read_json(folder / CONFIG)
    if config is None:
        return
    if not (isinstance(config, dict) and "key" in config and isinstance(config.get("identity"), dict)):
        raise LaloraError(f"{folder / CONFIG}: this folder holds something else than a run; choose another --out")
    if config["key"] != key(identity):
        raise LaloraError(
            f"{folder} holds a run with other settings ({first_difference(config['identity'], identity)}); "
            "choose another --out, or delete that folder"
        )
