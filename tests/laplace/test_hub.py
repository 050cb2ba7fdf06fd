"""Sharing on the hub, with the hub replaced by a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import lalora
from lalora import LaloraError, Laplace
from lalora.laplace import _hub, laplace_folder
from tiny import batches, lora, rows, shake


class FolderHub:
    """Keeps what is uploaded in a folder."""

    root: Path

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, exist_ok: bool, private: bool = False) -> None:
        assert exist_ok
        (self.root / repo_id).mkdir(parents=True)

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: str) -> str:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"hub://{repo_id}"


def test_push_and_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo_id: str, **options: Any) -> str:
        return str(tmp_path / repo_id)

    monkeypatch.setattr(FolderHub, "root", tmp_path, raising=False)
    monkeypatch.setattr(_hub, "HfApi", FolderHub)
    monkeypatch.setattr(_hub, "snapshot_download", download)
    model = lora()
    laplace = lalora.fit(model, {"arc": batches(rows(3), 3)}, progress=False)
    assert laplace.push_to_hub("me/laplace", licence="apache-2.0", private=True) == "hub://me/laplace"
    shake(model)
    assert torch.equal(Laplace.from_hub("me/laplace").penalty(model), laplace.penalty(model))
    card = (tmp_path / "me" / "laplace" / "README.md").read_text()
    for part in ("license: apache-2.0", "| arc | 3 |", "## Provenance", "## Licence", "## Privacy", "from_hub"):
        assert part in card


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **options: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(_hub, "snapshot_download", unreachable)
    with pytest.raises(LaloraError, match="cannot fetch 'me/laplace' from the hub: no route to host; check"):
        Laplace.from_hub("me/laplace")


def test_a_command_finds_it_in_a_folder_or_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "snapshot_download", lambda repo_id, **_: str(tmp_path / "cache" / repo_id))
    assert laplace_folder("me/laplace") == tmp_path / "cache" / "me" / "laplace"
    assert laplace_folder("./me/laplace") == Path("me/laplace")
    (tmp_path / "me" / "laplace").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert laplace_folder("me/laplace") == Path("me/laplace")
    with pytest.raises(LaloraError, match="there is no folder laplce: give what `lalora fit` wrote"):
        laplace_folder("laplce")
