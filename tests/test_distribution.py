"""The wheel and the source distribution: all that the package needs is in them, and one is built from the other."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
USES_DATA = """
import lalora
from lalora.methods.costs import costs
from lalora.report.page import template
from lalora.study import built_in_recipes
from lalora.text import ENGLISH_FILE

print(lalora.__file__)
print(len(built_in_recipes()), len(costs()))
assert ENGLISH_FILE.read_text(encoding="utf-8")
assert template("page.html").filename
"""

pytestmark = pytest.mark.skipif(
    find_spec("build") is None or find_spec("hatchling") is None, reason="build and hatchling are not installed"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source distribution, and the wheel that `build` makes from it, without an index."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=out)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, source


def package_files() -> set[str]:
    """What lies in the package's folder, whatever an ignore file may say of it."""
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(SOURCE).as_posix() for path in files if path.suffix != ".pyc"}


def test_the_wheel_holds_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    files = package_files()
    assert {
        "lalora/py.typed",
        "lalora/recipes/quickstart.yaml",
        "lalora/report/page/page.html",
        "lalora/text/english.txt",
    } <= files
    assert names == files


def test_the_wheel_describes_itself(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        (folder,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
        metadata = wheel.read(f"{folder}/METADATA").decode()
        scripts = wheel.read(f"{folder}/entry_points.txt").decode()
        assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    assert "lalora = lalora.cli.main:main" in scripts
    assert "Project-URL: Paper, https://arxiv.org/abs/2512.17720" in metadata
    assert {f"Provides-Extra: {extra}" for extra in ("lab", "ray", "bench", "dev")} <= set(metadata.splitlines())


def test_the_source_distribution_holds_tests_and_documents(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt", "docs/check.md"}
    assert wanted <= names
    assert {"tests/conftest.py", "tests/cli_flags.txt", "benchmarks/cost.py", "examples/own_loop.py"} <= names
    assert {f"src/{name}" for name in package_files()} <= names


def test_the_wheel_works_without_the_checkout(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", USES_DATA],
        env=environment, cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    where, counts = ended.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path / "site")
    recipes = len([name for name in package_files() if name.startswith("lalora/recipes/") and name.endswith(".yaml")])
    assert int(counts.split()[0]) == recipes
    assert all(int(count) > 0 for count in counts.split())
