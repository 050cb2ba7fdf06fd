"""A Laplace from a stranger: what its files say is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lalora
from hostile.forged import read, write
from lalora import LaloraError, Laplace
from tiny import batches, lora, rows

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laplaces")
    for kind in ("diagonal", "weight-kfac"):
        lalora.fit(lora(), batches(rows(4), 2), curvature=kind, progress=False).save(folder / kind)
    return folder


def fields(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fields("prior", value=-1.0), "field 'prior'"),
        (fields("prior", value="auto"), "field 'prior'"),
        (fields("extra", value=1), "field 'extra'"),
        (fields("provenance", "fit", "seed", value=1.5), "field 'provenance.fit'.*seed must be a valid integer"),
        (fields("provenance", "fit", "fisher", value="true"), "field 'provenance.fit'.*fisher='true'"),
        (fields("provenance", "lora", "r", value=10**8), "r': Input should be less"),
        (fields("provenance", "lora", "r", value=10**5), "rank 100000 that"),
        (fields("provenance", "lora", "use_dora", value=1), "use_dora"),
        (fields("provenance", "base_model", value="a\x1b[2J"), "control characters"),
        (fields("provenance", "fit", "curvature", value="kfac"), "does not go with"),
        (fields("provenance", "fingerprint", "layers", value={"x": [1.0]}), "fingerprint.layers.x"),
        (fields("tensors", value="../outside.safetensors"), "field 'tensors'"),
        (fields("tensors", value="/etc/passwd"), "field 'tensors'"),
    ],
)
def test_a_field_that_no_fit_writes_is_named(
    folders: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    body, tensors = read(folders / "diagonal")
    change(body)
    write(tmp_path, body, tensors)
    with pytest.raises(LaloraError, match=message):
        Laplace.load(tmp_path)


def negative(tensor: Tensor) -> Tensor:
    return -tensor


def with_a_nan(tensor: Tensor) -> Tensor:
    tensor.view(-1)[0] = torch.nan
    return tensor


def whole(tensor: Tensor) -> Tensor:
    return tensor.long()


def doubled(tensor: Tensor) -> Tensor:
    return tensor * 2


def one_less(tensor: Tensor) -> Tensor:
    return tensor[:-1].contiguous()


@pytest.mark.parametrize(
    ("kind", "ending", "change", "message"),
    [
        ("diagonal", "q_proj.lora_B.weight", negative, "is negative somewhere"),
        ("diagonal", "q_proj.lora_B.weight", with_a_nan, "is not finite"),
        ("diagonal", "q_proj.lora_B.weight", whole, "is of type torch.int64"),
        ("diagonal", "q_proj.lora_B.weight", one_less, "has a shape that is not the one"),
        ("diagonal", "q_proj.lora_A.weight", one_less, "has a shape that is not the one"),
        ("weight-kfac", "/values", negative, "is negative somewhere"),
        ("weight-kfac", "/values", one_less, "do not go with"),
        ("weight-kfac", "/vectors", doubled, "are not orthonormal"),
        ("weight-kfac", "/tail", lambda tensor: tensor + 1e9, "not a number from 0 to"),
        ("weight-kfac", "/scale", lambda tensor: tensor + 1e300, "not a number from"),
        ("weight-kfac", "factors/keys", lambda tensor: tensor + 100, "that is not from 0"),
    ],
)
def test_a_tensor_that_makes_no_curvature_is_named(
    folders: Path, tmp_path: Path, kind: str, ending: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    body, tensors = read(folders / kind)
    name = next(name for name in sorted(tensors) if name.endswith(ending))
    tensors[name] = change(tensors[name].clone())
    write(tmp_path, body, tensors)
    with pytest.raises(LaloraError, match=message):
        Laplace.load(tmp_path)


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', "[" * 100_000, '{"a": 1, "a": 2}', "9" * 6000, "\ufeff{}", "[]", '"\\ud800"']
)
def test_json_that_python_reads_and_nobody_should(tmp_path: Path, text: str) -> None:
    (tmp_path / "laplace.json").write_text(text, encoding="utf-8")
    with pytest.raises(LaloraError, match="truncated or altered"):
        Laplace.load(tmp_path)


def test_links_that_leave_the_folder_are_refused(folders: Path, tmp_path: Path) -> None:
    body, tensors = read(folders / "diagonal")
    write(tmp_path / "outside", body, tensors)
    (tmp_path / "inside").mkdir()
    for file in (tmp_path / "outside").iterdir():
        (tmp_path / "inside" / file.name).symlink_to(file)
    with pytest.raises(LaloraError, match="is a link to outside of its folder"):
        Laplace.load(tmp_path / "inside")


def test_the_links_of_the_hubs_cache_are_followed(folders: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0", tmp_path / "models--a--b" / "blobs"
    write(blobs, *read(folders / "diagonal"))
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert Laplace.load(snapshot).provenance == Laplace.load(folders / "diagonal").provenance


def test_orthonormal_in_bfloat16_is_orthonormal_enough(folders: Path, tmp_path: Path) -> None:
    body, tensors = read(folders / "weight-kfac")
    narrow = {name: tensor.bfloat16() if name.endswith("/vectors") else tensor for name, tensor in tensors.items()}
    write(tmp_path, body, narrow)
    assert Laplace.load(tmp_path).curvature.kind == "weight-kfac"
