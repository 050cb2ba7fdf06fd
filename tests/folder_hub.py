"""A folder in the place of the Hugging Face hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lalora import hub
from lalora.assets import adapters
from lalora.laplace import _hub


class FolderHub:
    """Keeps what is uploaded in a folder."""

    root: Path
    private: bool = False

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    @classmethod
    def instead(cls, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
        """Put one in the place of the hub, for uploads and downloads."""
        monkeypatch.setattr(cls, "root", root, raising=False)
        monkeypatch.setattr(hub, "HfApi", cls)
        for module in (_hub, adapters):
            monkeypatch.setattr(module, "snapshot_download", lambda repo_id, **_: str(root / repo_id))
        return root

    def create_repo(self, repo_id: str, exist_ok: bool, private: bool = False) -> None:
        assert exist_ok
        type(self).private = private
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: str | None) -> str:
        for old in (self.root / repo_id).glob(delete_patterns or "nothing"):
            old.unlink()
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"hub://{repo_id}"

    def repo_info(self, *_: Any, **__: Any) -> None:
        """Have everything."""
