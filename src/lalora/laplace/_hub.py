"""A Laplace on the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from lalora.hub import explained, upload
from lalora.laplace import _storage
from lalora.laplace._card import card
from lalora.laplace._provenance import Provenance
from lalora.laplace._size import Size


def push(
    save: Callable[[Path], None], provenance: Provenance, size: Size, repo_id: str, licence: str | None, **options: Any
) -> str:
    """Upload the files and a card."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder)
        (folder / "README.md").write_text(card(provenance, size, repo_id, licence), encoding="utf-8")
        return upload(folder, repo_id, "Add a Laplace", replaces=_storage.TENSORS, **options)


def pull(repo_id: str, **options: Any) -> Path:
    """Download the two files."""
    with explained(f"cannot fetch the Laplace '{repo_id}' from the Hugging Face hub"):
        return Path(snapshot_download(repo_id, allow_patterns=[_storage.TENSORS, _storage.DESCRIPTION], **options))
