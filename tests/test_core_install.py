"""An installation without extras: it does all that the README promises of it, and names the extra for the rest."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from core_only import core_distributions
from lalora.curvature import FITTED
from lalora.extras import EXTRAS, MissingPackageError, how_to_install, named_if_missing

HERE = Path(__file__).parent
LINE = r"""'[\w.]+' is not installed: pip install "lalora\[lab\]\""""
# Where the name that Python imports is another than that of the package.
IMPORTED = {"attrs": "attr", "lm-eval": "lm_eval", "pyyaml": "yaml"}


@pytest.fixture(scope="module")
def walked() -> dict[str, Any]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, str(HERE / "core_walk.py")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_the_core_does_all_that_it_promises(walked: dict[str, Any]) -> None:
    assert all(math.isfinite(walked[kind]) and walked[kind] > 0 for kind in FITTED)
    assert walked["drift"] > 0
    assert walked["check"] is True
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(walked["softened"])


def test_what_needs_an_extra_names_it_in_one_line(walked: dict[str, Any]) -> None:
    lines = dict(walked["lines"])
    assert re.fullmatch(f"table.parquet: {LINE}", lines.pop("table.parquet"))
    assert re.fullmatch(f"lines.jsonl.zst: {LINE}", lines.pop("lines.jsonl.zst"))
    assert re.fullmatch(f"method 'corda': {LINE}", lines.pop("corda"))
    commands = {name: lines.pop(name) for name in list(lines) if name.startswith("lalora ")}
    assert len(commands) == 9
    assert not {name: line for name, line in commands.items() if not re.fullmatch(f"error: {LINE}", line)}
    assert {"assets", "domains", "evaluation", "report", "scipy", "study"} == set(lines)
    assert not {name: line for name, line in lines.items() if not re.fullmatch(LINE, line)}


def test_what_is_hidden_is_what_only_extras_bring() -> None:
    core = core_distributions()
    assert {"lalora", "torch", "transformers", "peft", "jinja2"} <= core
    assert not {"datasets", "lm-eval", "scipy", "pyarrow", "matplotlib"} & core


def test_extras_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = names(project["dependencies"])
    for extra, packages in EXTRAS.items():
        assert names(project["optional-dependencies"][extra]) - core == set(packages)


def names(requirements: list[str]) -> set[str]:
    found = {Requirement(one).name for one in requirements}
    return {IMPORTED.get(name, name) for name in found}


def test_a_package_of_no_extra_is_named_itself() -> None:
    assert how_to_install("sentencepiece.model") == "'sentencepiece.model' is not installed: pip install sentencepiece"
    assert how_to_install("ray") == """'ray' is not installed: pip install "lalora[ray]\""""


def test_a_module_of_ours_that_is_not_there_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, named_if_missing():
        import lalora.nowhere  # type: ignore[import-not-found]  # ruff: ignore[unused-import]
    assert not isinstance(caught.value, MissingPackageError)
