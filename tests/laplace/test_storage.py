"""A Laplace on disk: the same to the bit, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lalora
from lalora import LaloraError, Laplace
from tiny import batches, lora, rows, shake


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Laplace, Path]:
    laplace = lalora.fit(lora(), {"arc": batches(rows(4), 2)}, progress=False)
    laplace.save(tmp_path / "laplace")
    return laplace, tmp_path / "laplace"


def test_the_same_penalty_to_the_bit(saved: tuple[Laplace, Path]) -> None:
    laplace, folder = saved
    again = Laplace.load(folder)
    model = lora()
    shake(model)
    assert torch.equal(again.penalty(model, 2.0), laplace.penalty(model, 2.0))
    assert again.provenance == laplace.provenance
    assert sorted(file.name for file in folder.iterdir()) == ["laplace.json", "laplace.safetensors"]


def test_zero_blocks_are_not_stored(saved: tuple[Laplace, Path]) -> None:
    from safetensors import safe_open

    with safe_open(saved[1] / "laplace.safetensors", "pt") as file:
        names = list(file.keys())
    assert any(name.startswith("diagonal/") and "lora_B" in name for name in names)
    assert any(name.startswith("mean/") and "lora_A" in name for name in names)
    assert not [name for name in names if name.startswith("diagonal/") and "lora_A" in name]
    assert not [name for name in names if name.startswith("mean/") and "lora_B" in name]


def test_provenance_names_what_was_done(saved: tuple[Laplace, Path]) -> None:
    provenance = saved[0].provenance
    assert provenance.lalora == lalora.__version__
    assert [(data.name, data.rows, data.batches) for data in provenance.datasets] == [("arc", 4, 2)]
    assert (provenance.fisher, provenance.labels, provenance.combine) == ("sequence", "sampled", "mean")
    assert provenance.lora["r"] == 3


@pytest.mark.parametrize("file", ["laplace.safetensors", "laplace.json"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_flipped_bit(saved: tuple[Laplace, Path], file: str, where: float) -> None:
    path = saved[1] / file
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(LaloraError, match=f"{file}' is truncated or altered"):
        Laplace.load(saved[1])


@pytest.mark.parametrize("file", ["laplace.safetensors", "laplace.json"])
def test_a_truncated_file(saved: tuple[Laplace, Path], file: str) -> None:
    path = saved[1] / file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LaloraError, match=f"{file}' is truncated or altered"):
        Laplace.load(saved[1])


def test_a_missing_file(saved: tuple[Laplace, Path]) -> None:
    (saved[1] / "laplace.safetensors").unlink()
    with pytest.raises(LaloraError, match="'laplace.safetensors' is missing"):
        Laplace.load(saved[1])


def test_a_newer_format(saved: tuple[Laplace, Path]) -> None:
    path = saved[1] / "laplace.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(LaloraError, match="has format 99"):
        Laplace.load(saved[1])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    laplace = lalora.fit(lora(), batches(rows(2), 2), progress=False)
    (tmp_path / "file").write_text("here already")
    with pytest.raises(LaloraError, match="cannot write a Laplace to"):
        laplace.save(tmp_path / "file" / "laplace")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_saving_again_replaces(saved: tuple[Laplace, Path]) -> None:
    other = lalora.fit(lora(), batches(rows(3, seed=8), 3), progress=False)
    other.save(saved[1])
    assert Laplace.load(saved[1]).provenance == other.provenance
