import json
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from drawn_once import files_of
from lalora.errors import LaloraError
from lalora.report import draw, drawing
from lalora.report.panels.heatmaps import HeatmapsPanel
from made_up_study import found, page


@pytest.fixture
def drawn_already(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing is tested, not drawing."""
    files = files_of(results)
    monkeypatch.setattr(drawing, "drawn", lambda _: files)


BARE = {"name": "bare", "method": "lalora", "label": "Bare", "curve": [], "train": [], "precision_groups": None}


def test_writes_pictures_tables_and_a_page(tmp_path: Path, results: dict[str, Any]) -> None:
    draw(found(results), tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        *("after-training.csv", "after-training.md", "after-training.tex"),
        *("by-data-set.pdf", "by-data-set.png"),
        *("curves.pdf", "curves.png", "report.html", "results.csv", "results.md", "results.tex"),
        *("tradeoff.pdf", "tradeoff.png"),
    ]
    assert (tmp_path / "new" / "tradeoff.pdf").read_bytes().startswith(b"%PDF")
    for name in ("curves.png", "tradeoff.png"):
        picture = imread(tmp_path / "new" / name)
        assert picture.shape[1] > 1000
        assert picture.std() > 0.05


def test_heat_maps_are_drawn_where_there_are_some(
    tmp_path: Path, seeded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "PANELS", [HeatmapsPanel])
    draw(found(seeded), tmp_path)
    assert imread(tmp_path / "heatmaps.png").shape[1] > 1000
    assert (tmp_path / "heatmaps.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("drawn_already")
def test_what_was_there_is_replaced(tmp_path: Path, results: dict[str, Any]) -> None:
    (tmp_path / "report.html").write_text("old")
    draw(found(results), tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") != "old"


@pytest.mark.usefixtures("drawn_already")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, results: dict[str, Any]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaloraError, match=r"file/tradeoff\.png: cannot be written"):
        draw(found(results), tmp_path / "file")


@pytest.mark.usefixtures("drawn_already")
def test_a_file_that_cannot_be_replaced_leaves_nothing_half_written(tmp_path: Path, results: dict[str, Any]) -> None:
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(LaloraError, match=r"curves\.png: cannot be written"):
        draw(found(results), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "tradeoff.png"]


@pytest.mark.parametrize(
    "runs", [[], [BARE], [{**BARE, "final": {"step": 5}}], [{**BARE, "final": {"target_loss": float("nan")}}]]
)
def test_little_is_enough(tmp_path: Path, runs: list[dict[str, Any]]) -> None:
    draw(found({"format": 1, "name": "little", "base": {}, "runs": runs}), tmp_path)
    assert (tmp_path / "report.html").is_file()


def test_the_page_names_no_address_and_forbids_all_requests(results: dict[str, Any]) -> None:
    text = page(results)
    assert "default-src 'none'" in text
    assert set(re.findall(r"[a-z]+://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}


def test_text_from_outside_is_escaped(results: dict[str, Any]) -> None:
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    for run in results["runs"]:
        run |= {"label": bad, "name": bad, "settings": {bad: bad, "deep": {bad: [bad]}}}
        run["precision_groups"][0]["group"] = bad
    results |= {
        "name": bad,
        "notes": [bad],
        "command": bad,
        "machine": bad,
        "created": bad,
        "lalora": bad,
        "versions": {bad: bad},
        "recipe": {bad: bad},
    }
    results["base"]["loss"] = {bad: 1.0}
    text = page(results)
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text


def test_the_plots_get_the_measured_numbers(results: dict[str, Any]) -> None:
    text = page(results)
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    data = json.loads(match[1])
    last = data["runs"][1]["points"][-1]
    final = results["runs"][1]["final"]
    assert last["source_kl"] == final["source_kl"]
    assert last["gain"] == pytest.approx(results["base"]["target_loss"] - final["target_loss"])
    assert data["changes"][0]["groups"] == ["flexible", "middle", "important"]


def test_other_curvatures_get_a_table_of_their_own(results: dict[str, Any]) -> None:
    results["runs"][2]["precision_groups"][1]["mean"] = 0.5
    assert page(results).count("data-changes=") == 2
