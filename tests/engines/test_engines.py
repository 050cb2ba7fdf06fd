"""Training under FSDP2 and DeepSpeed ZeRO in two processes against one process without them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

WORKER = Path(__file__).with_name("worker.py")
# Beside the environment and not in it: accelerate imports DeepSpeed in every process in which it can.
DEEPSPEED = Path(sys.prefix) / "deepspeed"
Found = dict[str, dict[str, Any]]


def ended(out: Path, processes: int, engines: list[str]) -> dict[str, Found]:
    path = os.pathsep.join([*sys.path, str(DEEPSPEED)] if engines[0].startswith("zero") else sys.path)
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    launched = subprocess.run(
        [*torchrun, f"--nproc-per-node={processes}", str(WORKER), str(out), *engines],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert launched.returncode == 0, launched.stderr[-4000:]
    return {engine: torch.load(out / f"{engine}-0.pt", weights_only=True) for engine in engines}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Found]:
    return ended(folder, 1, ["none", "none32"])


@pytest.fixture(scope="module")
def fsdp(folder: Path, alone: dict[str, Found]) -> dict[str, Found]:
    return ended(folder, 2, ["native", "fsdp2"])


@pytest.fixture(scope="module")
def zero(folder: Path) -> dict[str, Found]:
    if importlib.util.find_spec("deepspeed") is None and not DEEPSPEED.is_dir():
        pytest.skip("DeepSpeed is not installed; make test installs it")
    return ended(folder, 2, ["zero1", "zero2", "zero3"])


def apart(found: dict[str, Any], oracle: dict[str, Any]) -> float:
    """The distance of two ends, relative to the way from the start to the oracle's."""
    assert found["tensors"].keys() == oracle["tensors"].keys()
    start = oracle.get("start", {})

    def norm(difference: list[torch.Tensor]) -> float:
        return float(torch.cat([one.double().flatten() for one in difference]).norm())

    names = list(oracle["tensors"])
    way = norm([oracle["tensors"][name] - start.get(name, 0.0) for name in names])
    return norm([found["tensors"][name] - oracle["tensors"][name] for name in names]) / way


TRAINERS = ("weight-kfac", "diagonal", "kfac", "callback", "l2", "replay", "kl", "drift", "whole run", "resumed")
LOOPS = ("in the loss", "by gradient")


@pytest.mark.parametrize("case", [*TRAINERS, *LOOPS])
def test_fsdp2_trains_the_adapter_of_one_process(fsdp: dict[str, Found], alone: dict[str, Found], case: str) -> None:
    found = fsdp["fsdp2"][case]
    assert found.get("sharded", True)
    assert apart(found, alone["none"][case]) < 1e-12


def test_a_fit_of_a_sharded_model_leaves_nothing_to_the_next_step(
    fsdp: dict[str, Found], alone: dict[str, Found]
) -> None:
    # The fit is at the precision of gradients' reduction, float32 here.
    assert apart(fsdp["fsdp2"]["fitted in parts"], alone["none"]["fitted in parts"]) < 1e-6


@pytest.mark.parametrize("curvature", ["weight-kfac", "diagonal", "kfac"])
def test_a_sharded_model_is_fitted_as_a_whole_one(
    fsdp: dict[str, Found], alone: dict[str, Found], curvature: str
) -> None:
    case = f"fit of {curvature}"
    assert apart(fsdp["fsdp2"][case], alone["none"][case]) < 1e-12


def test_a_model_that_transformers_shards_as_it_loads_trains_the_same(
    fsdp: dict[str, Found], alone: dict[str, Found]
) -> None:
    found = fsdp["native"]["native"]
    assert found["sharded"]
    assert apart(found, alone["none"]["native"]) < 1e-12


@pytest.mark.parametrize("case", ["weight-kfac", "drift"])
def test_what_is_logged_is_of_the_whole_adapter(fsdp: dict[str, Found], alone: dict[str, Found], case: str) -> None:
    found, oracle = fsdp["fsdp2"][case]["logged"], alone["none"][case]["logged"]
    assert len(found) == len(oracle) > 0
    for here, there in zip(found, oracle, strict=True):
        assert here == pytest.approx(there, rel=1e-10)


@pytest.mark.parametrize("stage", ["zero1", "zero2", "zero3"])
@pytest.mark.parametrize("case", ["weight-kfac", "callback", "whole run", "own engine"])
def test_zero_trains_the_adapter_of_one_process(
    zero: dict[str, Found], alone: dict[str, Found], stage: str, case: str
) -> None:
    found = zero[stage][case]
    assert found.get("engine", "DeepSpeedEngine") == "DeepSpeedEngine"
    assert found.get("partitioned", stage == "zero3") == (stage == "zero3")
    assert apart(found, alone["none32"][case]) < 1e-5


@pytest.mark.parametrize("case", ["l2", "replay", "drift"])
def test_zero_serves_other_methods(zero: dict[str, Found], alone: dict[str, Found], case: str) -> None:
    found, oracle = zero["zero3"][case], alone["none32"][case]
    assert apart(found, oracle) < 1e-5
    for here, there in zip(found["logged"], oracle["logged"], strict=True):
        assert here == pytest.approx(there, rel=1e-4)


@pytest.mark.parametrize("engine", ["fsdp2", "zero1", "zero2", "zero3"])
def test_a_resumed_run_ends_with_the_same_bits(request: pytest.FixtureRequest, engine: str) -> None:
    found = request.getfixturevalue("fsdp" if engine == "fsdp2" else "zero")[engine]
    for name, tensor in found["whole run"]["tensors"].items():
        assert torch.equal(tensor, found["resumed"]["tensors"][name]), name


@pytest.mark.parametrize("engine", ["fsdp2", "zero2", "zero3"])
def test_what_is_saved_is_the_whole_adapter(request: pytest.FixtureRequest, folder: Path, engine: str) -> None:
    from safetensors.torch import load_file

    found = request.getfixturevalue("fsdp" if engine == "fsdp2" else "zero")[engine]
    saved = load_file(folder / engine / "saved" / "adapter_model.safetensors")
    assert len(saved) == len(found["resumed"]["tensors"])
    for name, tensor in found["resumed"]["tensors"].items():
        assert torch.equal(saved[name], tensor), name


def test_what_zero_cannot_do_is_refused_in_a_line(zero: dict[str, Found]) -> None:
    for stage in ("zero1", "zero2", "zero3"):
        assert "load the Laplace here" in zero[stage]["refused"]["fit"]
    assert "laplace.add_gradient(engine.module, strength)" in zero["zero3"]["refused"]["penalty"]
