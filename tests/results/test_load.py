import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from lalora.errors import LaloraError
from lalora.results import load_results, parse


def write(folder: Path, content: str) -> Path:
    (folder / "results.json").write_text(content, encoding="utf-8")
    return folder


def test_reads_what_a_study_wrote(tmp_path: Path, results: dict[str, Any]) -> None:
    assert load_results(write(tmp_path, json.dumps(results))) == parse(results)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaloraError, match=r"results\.json: not found; give the folder"):
        load_results(tmp_path)


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaloraError, match=r"results\.json: cannot be read"):
        load_results(tmp_path / "file")


@pytest.mark.parametrize("content", ["", '{"format": 1, "runs": [', "\x00\x01"])
def test_corrupt_json_names_the_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(LaloraError, match=r"results\.json: not valid JSON"):
        load_results(write(tmp_path, content))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LaloraError, match=r"results\.json: not valid JSON"):
        load_results(tmp_path)


def test_json_that_is_no_object(tmp_path: Path) -> None:
    with pytest.raises(LaloraError, match="holds no results"):
        load_results(write(tmp_path, "[]"))


@pytest.mark.parametrize(("found", "says"), [(None, "older"), (0, "older"), ("1", "older"), (2, "newer")])
def test_other_formats_are_refused(tmp_path: Path, results: dict[str, Any], found: object, says: str) -> None:
    with pytest.raises(LaloraError, match=rf"results\.json: written in an? {says} format"):
        load_results(write(tmp_path, json.dumps({**results, "format": found})))


def test_a_wrong_field_is_named(tmp_path: Path, results: dict[str, Any]) -> None:
    wrong = deepcopy(results)
    wrong["runs"][1]["final"]["target_loss"] = "low"
    with pytest.raises(LaloraError, match=r"field 'runs\.1\.final\.target_loss'"):
        load_results(write(tmp_path, json.dumps(wrong)))


def test_a_missing_field_is_named(tmp_path: Path, results: dict[str, Any]) -> None:
    del results["base"]
    with pytest.raises(LaloraError, match="field 'base'"):
        load_results(write(tmp_path, json.dumps(results)))


def test_two_runs_of_one_name_are_refused(tmp_path: Path, results: dict[str, Any]) -> None:
    results["runs"].append(deepcopy(results["runs"][0]))
    with pytest.raises(LaloraError, match=r"results\.json: holds two runs called lora-seed-0; rename or remove one"):
        load_results(write(tmp_path, json.dumps(results)))
