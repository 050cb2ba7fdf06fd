"""Folders of studies that somebody else made, or that were damaged."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostile.sandbox import Sandbox
from lalora.study.store.checkpoints import newest_complete
from lalora.study.store.finished import ADAPTER, DONE, METRICS, damaged, is_done, mark_done
from lalora.study.store.records import cut_back, read_json, read_rows

RESULTS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "results/quickstart/results.json").read_text())


def with_results(change: Callable[[dict[str, Any]], object]) -> bytes:
    content = json.loads(json.dumps(RESULTS))
    change(content)
    return json.dumps(content).encode()


BROKE: dict[str, tuple[bytes, str]] = {
    "depth": (b"[" * 200_000, "nested too deep"),
    "digits": (with_results(lambda r: r["runs"][0].update(seed=10**400)), "a number of 401 digits"),
    "escapes": (with_results(lambda r: r["runs"][0].update(label="\x1b]0;x\x07")), "control characters"),
    "half a pair": (with_results(lambda r: r["runs"][0].update(label="\ud800")), "control characters"),
    "from right to left": (with_results(lambda r: r["runs"][0].update(label="a\u202eb")), "control characters"),
    "a long label": (with_results(lambda r: r["runs"][0].update(label="x" * 10**6)), "control characters or of more"),
    "a formula": (with_results(lambda r: r["runs"][0].update(label="$\\frac{$")), "label"),
    "another formula": (with_results(lambda r: r["runs"][0].update(label="$\\badcmd{x}$")), "label"),
    "a true format": (with_results(lambda r: r.update(format=True)), "format"),
    "a list": (b"[]", "holds no results"),
    "latin-1": ('{"name": "caf\u00e9"}'.encode("latin-1"), "not valid JSON"),
    "nothing": (b"", "not valid JSON"),
    "NUL": (b"\0" * 100, "not valid JSON"),
}


@pytest.mark.parametrize("case", BROKE)
def test_what_broke_a_report_once_is_refused_in_one_line(case: str, sandbox: Sandbox, tmp_path: Path) -> None:
    content, message = BROKE[case]
    (tmp_path / "results.json").write_bytes(content)
    outcome = sandbox.lalora("report", tmp_path)
    assert outcome.refused_in_one_line, outcome
    assert message in outcome.err
    assert "\x1b" not in outcome.err + outcome.out
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
def test_no_file_hangs_a_report(kind: str, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    outcome = sandbox.lalora("report", tmp_path)
    assert outcome.refused_in_one_line, outcome


def run_folder(tmp_path: Path) -> Path:
    (tmp_path / METRICS).write_text('{"step": 0}\n')
    (tmp_path / ADAPTER).write_bytes(b"x")
    mark_done(tmp_path, "key")
    return tmp_path


def test_a_finished_run_is_done(tmp_path: Path) -> None:
    assert is_done(run_folder(tmp_path), "key")


@pytest.mark.parametrize(
    "hashes",
    [{"nothing": None}, {}, [], None, "x", {METRICS: None, ADAPTER: None}, {"../ff": None}, {METRICS: "0" * 64}],
    ids=str,
)
def test_a_forged_mark_makes_no_run_done(hashes: Any, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / DONE).write_text(json.dumps({"key": "key", "threads": 1, "sha256": hashes}))
    assert not is_done(folder, "key")
    assert damaged(folder) is not None


def test_names_in_a_mark_are_not_followed(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (folder / DONE).write_text(json.dumps({"key": "key", "sha256": {METRICS: "0", ADAPTER: "0", "pipe": "0"}}))
    assert not is_done(folder, "key")


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 6000, '{"a": ' + "1" * 400 + "}", "\x00", "{"])
def test_small_files_that_are_no_json_read_as_absent(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    assert read_json(tmp_path / "x.json") is None
    (tmp_path / "x.jsonl").write_text('{"step": 1}\n' + content + '\n{"step": 2}\n')
    assert read_rows(tmp_path / "x.jsonl") == [{"step": 1}]


def test_rows_without_a_step_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"step": 1}\n{"kind": "eval"}\n{"step": "2"}\n{"step": true}\n{"step": 3}\n')
    cut_back(path, 2)
    assert read_rows(path) == [{"step": 1}]


@pytest.mark.parametrize(
    ("name", "state"),
    [("checkpoint-²", {"global_step": 2}), ("checkpoint-1", {"global_step": True}), ("checkpoint-1", [])],
    ids=["a power", "true", "a list"],
)
def test_a_checkpoint_that_no_trainer_wrote_is_no_complete_one(name: str, state: Any, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "trainer_state.json").write_text(json.dumps(state))
    assert newest_complete(tmp_path) is None


def mutated(source: random.Random, value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict) and value and (depth < 2 or source.random() < 0.8):
        key = source.choice(sorted(value))
        return {**value, key: mutated(source, value[key], depth + 1)}
    if isinstance(value, list) and value and source.random() < 0.8:
        place = source.randrange(len(value))
        return [*value[:place], mutated(source, value[place], depth + 1), *value[place + 1 :]]
    return source.choice(
        [
            None,
            True,
            -1,
            0,
            10**9,
            1e308,
            -1e308,
            float("nan"),
            float("inf"),
            "",
            "x",
            "<script>",
            "$x$",
            "\x1b",
            [],
            {},
            [[]],
        ]
    )


def fuzz(count: int, seed: int, sandbox: Sandbox, folder: Path) -> dict[int, int]:
    source, codes = random.Random(seed), dict[int, int]()
    for number in range(count):
        content = RESULTS
        for _ in range(source.randint(1, 4)):
            content = mutated(source, content)
        (folder / "results.json").write_text(json.dumps(content))
        outcome = sandbox.call("hostile.test_study_folders:report", str(folder), timeout=30)
        assert not outcome.broken, f"number {number} of seed {seed}: {outcome.err}\n{json.dumps(content)[:4000]}"
        codes[bool(outcome.value)] = codes.get(bool(outcome.value), 0) + 1
    return codes


def report(folder: str) -> str:
    """What is said of the results; nothing where they are drawn."""
    from lalora.errors import LaloraError
    from lalora.report import Findings
    from lalora.results import load_results
    from made_up_study import page_of

    try:
        page_of(Findings(load_results(Path(folder))))
    except LaloraError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_mutated_results_are_drawn_or_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    assert fuzz(60, 1, sandbox, tmp_path)[True] > 10


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_mutated_results_are_drawn_or_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    codes = fuzz(600, 2, sandbox, tmp_path)
    print(f"\n{codes[True]} mutated results refused, {codes[False]} drawn")
    assert codes[True] > 100
