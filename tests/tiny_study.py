"""What tests of studies in several processes share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SAME = ("metrics.jsonl", "adapter_model.safetensors", "adapter_config.json", "done.json", "config.json")
GRID: list[dict[str, Any]] = [
    {"method": "lora"},
    {"method": "lalora", "strength": [1, 10]},
    {"method": "kl", "strength": 1.0, "source_text": "self", "source_length": 9},
]


def outcome(folder: Path) -> dict[str, bytes]:
    """Everything a study leaves that does not depend on the clock."""
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name in SAME
    }
