"""Command lines and environments that nobody meant: one line and status 2, never a traceback and never a wait."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hostile.sandbox import Outcome, Sandbox

SHORT, LONG = 25, 700

COMMANDS: dict[str, list[str]] = {
    "run": ["--out", "--set", "--workers", "--ray", "--cpus-per-run", "--gpus-per-run", "--share", "--dry-run",
            "--schema", "--list"],
    "fit": ["--source", "--out", "--rank", "--alpha", "--target-modules", "--rows", "--self-source", "--batch-size",
            "--curvature", "--fisher", "--factor-rank", "--factor-keep", "--prior", "--labels", "--combine", "--base",
            "--dtype", "--seed"],
    "train": ["--target", "--laplace", "--strength", "--out", "--steps", "--batch-size", "--accumulation",
              "--learning-rate", "--schedule", "--max-length", "--rank", "--alpha", "--target-modules", "--scored-rows",
              "--dtype", "--seed"],
    "evaluate": ["--source", "--target", "--held-out", "--rows", "--accuracy-rows", "--max-new-tokens", "--batch-size",
                 "--dtype", "--out"],
    "soften": ["--target", "--source", "--held-out", "--laplace", "--budget", "--floor", "--strength", "--out",
               "--rows", "--scored-rows", "--batch-size", "--max-length", "--dtype", "--seed"],
    "report": ["--out"],
    "methods": [],
    "assets": [],
}  # fmt: skip
SUBCOMMANDS = {"assets": ["list", "verify", "lost"]}
WORDS = [
    "", " ", "-", "--", "---", "-x", "--help", "--version", "--no-such", "--out=", "--rank=", "=", "@file",
    "0", "1", "-1", "1.5", "1e309", "nan", "inf", "-inf", "9" * 400, "1_0", "0x10", "٣", "true", "None",
    "a" * 5000, "\x1b[31mred", "\u202eleft", "\ud800", "é", "‖", "\n", "a\nb", "\t", "*", "~", "~nobody", "$HOME",
    "%s{}",
    "gsm8k", "gsm8k=", "=x", "gsm8k=x=y", "winogrande=/dev/zero", "lambada", "smoke", "quickstart", "small/rank",
    "kfac", "auto", "sum", "sequence", "all-linear", "(a+)+$", "rank=1e9", "seeds=[]", "{", "local", "s3://x",
    "PATH/missing", "PATH/missing/deep", "PATH/fifo", "PATH/folder", "PATH/file", "PATH/itself", "PATH/locked",
    "PATH/file/below", "/dev/zero", "/dev/full", "/proc/self/mem", "/", "/dev/fd/0",
]  # fmt: skip
ENVIRONMENT: dict[str, list[str]] = {
    "LC_ALL": ["C", "xx_YY.UTF-99", "POSIX", ""],
    "PYTHONIOENCODING": ["ascii", "latin-1", "cp1252"],
    "HOME": ["/proc/none", "", "/dev/null"],
    "LALORA_HOME": ["/proc/none", "/dev/null", "\x7f", "relative", "~nobody/x"],
    "HF_HOME": ["/dev/null", "", "\n"],
    "TMPDIR": ["/nowhere", "/dev/null", ""],
    "XDG_CACHE_HOME": ["/dev/null", "relative"],
    "COLUMNS": ["0", "-5", "abc", "1", "9" * 30],
    "LINES": ["0", "x"],
    "NO_COLOR": ["", "1"],
    "FORCE_COLOR": ["1", "x"],
    "TERM": ["dumb", "", "no-such"],
    "OMP_NUM_THREADS": ["x", "0", "-1", "9" * 20],
    "CUDA_VISIBLE_DEVICES": ["x", "-1", "99"],
    "TZ": ["/dev/zero", "x"],
    "PYTHONWARNINGS": ["error", "x"],
    "TOKENIZERS_PARALLELISM": ["x"],
    "HF_HUB_OFFLINE": ["x", "1"],
    "TRANSFORMERS_VERBOSITY": ["x"],
    "TQDM_DISABLE": ["x", "1"],
    "TQDM_MININTERVAL": ["x"],
}

# Each of these ended otherwise once.


@pytest.fixture(scope="session")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths")
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "file").write_text("x")
    (folder / "itself").symlink_to("itself")
    (folder / "locked").mkdir(mode=0)
    return folder


def required(outcome: Outcome, told: str) -> None:
    assert not outcome.broken, f"{told}\n{outcome}"
    assert outcome.code in (0, 2), f"{told}\n{outcome}"
    if outcome.code == 2:
        last = outcome.err.strip().splitlines()[-1:]
        assert last and (last[0].startswith(("error: ", "Error: ", "Try ")) or "Usage" in outcome.err), (
            f"{told}\n{outcome}"
        )


def fault(outcome: Outcome) -> bool:
    """Whether a command ended otherwise than well or in one line."""
    last = outcome.err.strip().splitlines()[-1:]
    usage = outcome.code == 2 and not outcome.broken and bool(last) and last[0].startswith("Error: ")
    return outcome.broken or not (outcome.code == 0 or outcome.refused_in_one_line or usage)


def command_line(source: random.Random, paths: Path) -> list[str]:
    command = source.choice(list(COMMANDS))
    words = [command, *([source.choice(SUBCOMMANDS[command])] if command in SUBCOMMANDS else [])]
    for _ in range(source.choice([0, 1, 1, 2, 2, 3, 5])):
        if COMMANDS[command] and source.random() < 0.5:
            words.append(source.choice(COMMANDS[command]))
        words.append(source.choice(WORDS).replace("PATH", str(paths)))
    if source.random() < 0.1:
        words.insert(0, source.choice(WORDS).replace("PATH", str(paths)))
    if command == "run" and not {"smoke", "quickstart", "small/rank"}.isdisjoint(words):
        words.insert(words.index("run") + 1, "--dry-run")  # such a study would begin
    return words


def require_none_broken(seeds: range, sandbox: Sandbox, paths: Path, folder: Path) -> None:
    codes, broken = Counter[int](), []
    for seed in seeds:
        words = command_line(random.Random(seed), paths)
        outcome = sandbox.lalora(*words, cwd=folder, environment={"LALORA_HOME": str(folder / "none")})
        codes[outcome.code] += 1
        if fault(outcome):
            broken.append(f"seed {seed}: {words}: {outcome}"[:1500])
    print(f"\ncommand lines: {dict(codes)}")
    assert not broken, f"{len(broken)}:\n" + "\n".join(broken[:50])


def test_command_lines_end_well_or_in_one_line(sandbox: Sandbox, paths: Path, tmp_path: Path) -> None:
    require_none_broken(range(SHORT), sandbox, paths, tmp_path)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_odd_environments_end_well_or_in_one_line(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    for value in ENVIRONMENT[name]:
        for words in (["methods"], ["assets", "list"], ["run", "--list"], ["run", "no-such‖recipe"]):
            outcome = sandbox.lalora(*words, cwd=tmp_path, environment={name: value})
            assert not fault(outcome), f"{name}={value!r} {words}: {outcome}"


@pytest.mark.long
@pytest.mark.parametrize("name", ENVIRONMENT)
def test_odd_environments_of_a_new_process(name: str, tmp_path: Path) -> None:
    # Read when Python starts or a library is imported, so that a fork does not show it.
    for value in ENVIRONMENT[name]:
        done = subprocess.run(
            [sys.executable, "-m", "lalora", "run", "no-such‖recipe"],
            cwd=tmp_path, env={**os.environ, name: value}, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        said = done.stderr.decode(errors="replace")
        assert done.returncode == 2, f"{name}={value!r}: {said}"
        assert "Traceback" not in said, f"{name}={value!r}: {said}"
        assert said.strip().splitlines()[-1].startswith("error: "), f"{name}={value!r}: {said}"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_hundreds_of_command_lines(sandbox: Sandbox, paths: Path, tmp_path: Path) -> None:
    require_none_broken(range(SHORT, LONG), sandbox, paths, tmp_path)
