"""A Laplace on disk: the same to the bit, or refused."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch

import lalora
from lalora import LaloraError, Laplace
from lalora.files import write_atomically
from lalora.laplace import FitSettings, _storage
from tiny import batches, lora, rows, shake


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Laplace, Path]:
    laplace = lalora.fit(lora(), {"arc": batches(rows(4), 2)}, progress=False, curvature="diagonal")
    laplace.save(tmp_path / "laplace")
    return laplace, tmp_path / "laplace"


def path_of(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


def test_the_same_penalty_to_the_bit(saved: tuple[Laplace, Path]) -> None:
    laplace, folder = saved
    again = Laplace.load(folder)
    model = lora()
    shake(model)
    assert torch.equal(again.penalty(model, 2.0), laplace.penalty(model, 2.0))
    assert again.provenance == laplace.provenance
    assert [file.suffix for file in sorted(folder.iterdir())] == [".safetensors", ".json"]


def test_zero_blocks_are_not_stored(saved: tuple[Laplace, Path]) -> None:
    from safetensors import safe_open

    with safe_open(path_of(saved[1], ".safetensors"), "pt") as file:
        names = list(file.keys())
    assert any(name.startswith("diagonal/") and "lora_B" in name for name in names)
    assert any(name.startswith("mean/") and "lora_A" in name for name in names)
    assert not [name for name in names if name.startswith("diagonal/") and "lora_A" in name]
    assert not [name for name in names if name.startswith("mean/") and "lora_B" in name]


def test_provenance_names_what_was_done(saved: tuple[Laplace, Path]) -> None:
    provenance = saved[0].provenance
    assert provenance.lalora == lalora.__version__
    assert [(data.name, data.rows, data.batches) for data in provenance.datasets] == [("arc", 4, 2)]
    assert provenance.fit == FitSettings(fisher="sequence", labels="sampled", combine="mean", curvature="diagonal")
    assert provenance.lora["r"] == 3


@pytest.mark.parametrize("file", [".safetensors", ".json"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_flipped_bit(saved: tuple[Laplace, Path], file: str, where: float) -> None:
    path = path_of(saved[1], file)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(LaloraError, match=f"{path.name}' is truncated or altered"):
        Laplace.load(saved[1])


@pytest.mark.parametrize("file", [".safetensors", ".json"])
def test_a_truncated_file(saved: tuple[Laplace, Path], file: str) -> None:
    path = path_of(saved[1], file)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LaloraError, match=f"{path.name}' is truncated or altered"):
        Laplace.load(saved[1])


def test_a_missing_file(saved: tuple[Laplace, Path]) -> None:
    for suffix in (".safetensors", ".json"):
        path = path_of(saved[1], suffix)
        path.unlink()
        with pytest.raises(LaloraError, match=f"'{path.name}' is missing"):
            Laplace.load(saved[1])


def test_a_newer_format(saved: tuple[Laplace, Path]) -> None:
    path = saved[1] / "laplace.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(LaloraError, match="has format 99"):
        Laplace.load(saved[1])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    laplace = lalora.fit(lora(), batches(rows(2), 2), progress=False, curvature="diagonal")
    (tmp_path / "file").write_text("here already")
    with pytest.raises(LaloraError, match="cannot write a Laplace to"):
        laplace.save(tmp_path / "file" / "laplace")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_saving_again_replaces(saved: tuple[Laplace, Path]) -> None:
    other = lalora.fit(lora(), batches(rows(3, seed=8), 3), progress=False, curvature="diagonal")
    other.save(saved[1])
    assert Laplace.load(saved[1]).provenance == other.provenance
    assert len(list(saved[1].iterdir())) == 2


@pytest.mark.parametrize("writes", [0, 1])
def test_killed_while_replacing_the_old_one_stays(
    saved: tuple[Laplace, Path], monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    done = []

    def killed(path: Path, data: bytes) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write_atomically(path, data)

    monkeypatch.setattr(_storage, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        lalora.fit(lora(), batches(rows(3, seed=8), 3), progress=False, curvature="diagonal").save(saved[1])
    assert Laplace.load(saved[1]).provenance == saved[0].provenance


def test_a_file_has_the_permissions_of_the_users_umask(saved: tuple[Laplace, Path]) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask for file in saved[1].iterdir())
