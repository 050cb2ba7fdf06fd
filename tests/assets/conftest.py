"""A catalogue of one tiny wheel that pip installs from a local folder: no network, everything else is real."""

import hashlib
import zipfile
from pathlib import Path
from types import MappingProxyType

import pytest

from lalora.assets import catalogue, store
from lalora.assets.catalogue import Asset


def make_wheel(folder: Path) -> Path:
    wheel = folder / "tiny_material-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_material/wanted/rows.jsonl", '{"text": "a"}\n')
        archive.writestr("tiny_material/unwanted.txt", "not unpacked")
        info = "tiny_material-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-material\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def tiny_wheel(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return make_wheel(folder)


@pytest.fixture
def tiny_asset(tmp_path: Path, tiny_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    asset = Asset(
        name="tiny",
        title="one tiny file",
        licence="none",
        project="tiny-material",
        version="1.0",
        wheel=tiny_wheel.name,
        sha256=hashlib.sha256(tiny_wheel.read_bytes()).hexdigest(),
        size=tiny_wheel.stat().st_size,
        members=("tiny_material/wanted/",),
    )
    monkeypatch.setenv("LALORA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny_wheel.parent))
    for module in (catalogue, store):
        monkeypatch.setattr(module, "ASSETS", MappingProxyType({"tiny": asset}))
    return asset
