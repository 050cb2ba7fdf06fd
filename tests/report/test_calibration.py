import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from rich.console import Console

from drawn_once import page_with_pictures
from lalora.report import draw, drawing
from lalora.report.panels.calibration import CalibrationPanel
from lalora.report.terminal import printed
from made_up_study import found, page

KINDS = ("diagonal", "kfac", "weight-kfac")


@pytest.fixture
def forecast(results: dict[str, Any]) -> dict[str, Any]:
    """Of the made-up study: the diagonal is right by half, kfac exact, weight-kfac twice too high."""
    for run in results["runs"]:
        for row in run["curve"]:
            row["forecasts"] = dict(zip(KINDS, (row["source_kl"] * x for x in (0.5, 1.0, 2.0)), strict=True))
    return results


def shown(results: dict[str, Any]) -> str:
    console = Console(width=100, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(*map(printed, CalibrationPanel(found(results)).tables()))
    return capture.get()


def test_every_point_after_the_start_is_compared(forecast: dict[str, Any]) -> None:
    panel = CalibrationPanel(found(forecast))
    points = panel.predictions
    assert [(point.run, point.step) for point in points] == [(i, s) for i in range(3) for s in (10, 20, 30, 40, 50, 60)]
    assert panel.curvatures == list(KINDS)
    assert panel.datasets == ["winogrande", "arc_challenge", "hellaswag"]
    for point in points:
        assert point.ratios == pytest.approx({"diagonal": 2.0, "kfac": 1.0, "weight-kfac": 0.5})
    assert points[5].source_rise == pytest.approx(0.121)


def test_a_forecast_of_zero_has_no_ratio(forecast: dict[str, Any]) -> None:
    forecast["runs"][0]["curve"][1]["forecasts"] = {"diagonal": 0.0, "kfac": None}
    assert CalibrationPanel(found(forecast)).predictions[0].ratios == {"diagonal": None, "kfac": None}


def test_the_terminal_shows_two_tables_of_100_columns(forecast: dict[str, Any]) -> None:
    last = forecast["runs"][0]["curve"][-1]
    last["source_kl"], last["forecasts"]["diagonal"] = 0.1837, 0.0123
    last["kl"]["hellaswag"] = 0.000277
    text = shown(forecast)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for expected in ("0.184", "0.0123", "14.93×", "2.77×10⁻⁴", "+0.121", "weight-kfac", "hellaswag"):
        assert expected in text


def test_page_and_picture_show_it(forecast: dict[str, Any], tmp_path: Path) -> None:
    draw(found(forecast), tmp_path)
    picture = imread(tmp_path / "calibration.png")
    assert picture.shape[1] > 1000
    # Both panels have marks in the colour of each curvature.
    for colour in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x74, 0x56, 0xC8)):
        near = abs(picture[..., :3] * 255 - colour).max(axis=-1) < 3
        assert near[:, : near.shape[1] // 2].sum() > 50
        assert near[:, near.shape[1] // 2 :].sum() > 50
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What each curvature predicted" in text
    assert text.count('class="picture"') == 2  # and the curves of each data set
    assert "<img" not in text
    assert len(re.findall(r"\(0\.50×\)", text)) == 18
    assert set(re.findall(r"[a-z]+://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}


def test_nothing_but_zeros_can_be_drawn(
    forecast: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "PANELS", [CalibrationPanel])
    for run in forecast["runs"]:
        for row in run["curve"]:
            row["forecasts"] = dict.fromkeys(KINDS, 0.0)
    draw(found(forecast), tmp_path)
    assert (tmp_path / "calibration.png").is_file()


def test_a_study_without_forecasts_has_none_of_it(results: dict[str, Any]) -> None:
    assert CalibrationPanel(found(results)).tables() == []
    assert "What each curvature predicted" not in page(results)
    assert 'class="picture"' not in page(results)


def test_names_from_outside_are_escaped(forecast: dict[str, Any]) -> None:
    bad = "<script>alert(1)</script>"
    forecast["runs"][0]["label"] = bad
    forecast["runs"][0]["curve"][1]["forecasts"] = {bad: 1.0}
    forecast["runs"][0]["curve"][1]["kl"] = {bad: 1.0}
    assert bad not in page(forecast)


def test_names_in_the_picture_are_escaped_and_its_style_stays_its_own(forecast: dict[str, Any]) -> None:
    bad = "<script>alert(1)</script>"
    forecast["runs"][0]["label"] = bad
    forecast["runs"][0]["curve"][1]["forecasts"] = {bad: 1.0}
    text = page_with_pictures(forecast).decode()
    assert bad not in text
    assert text.count("<style") == 1
    assert "var(--violet)" in text


def test_labels_are_not_markup(forecast: dict[str, Any]) -> None:
    forecast["runs"][0]["label"] = "[bold]x[/]"
    assert "[bold]x[/]" in shown(forecast)
