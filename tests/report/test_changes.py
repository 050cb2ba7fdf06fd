"""How weights moved: which runs are drawn, and that the picture holds their counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from matplotlib import rc_context
from matplotlib.image import imread
from matplotlib.patches import StepPatch

from lalora.methods import weight_changes
from lalora.report import draw
from lalora.report.changes_picture import drawn_runs
from lalora.report.panels.changes import ChangesPanel
from lalora.report.pictures import STYLE
from lalora.results import parse
from made_up_study import found, page, run


def counts(size: float, seed: int = 0) -> dict[str, Any] | None:
    draw_ = torch.Generator().manual_seed(seed)
    before = {"a": torch.rand(400, generator=torch.Generator().manual_seed(9)) - 0.5, "b": torch.zeros(200)}
    return weight_changes(before, {k: v + size * torch.randn(v.shape, generator=draw_) for k, v in before.items()})


@pytest.fixture
def moved(results: dict[str, Any]) -> dict[str, Any]:
    for one, size in zip(results["runs"], (0.3, 0.1, 0.01), strict=True):
        one["weight_changes"] = counts(size)
    return results


def test_of_many_settings_the_first_seed_of_four_is_drawn(results: dict[str, Any]) -> None:
    made = [run(f"LaLoRA λ={s:g}", s, 0.5, 0.1, 0.1, seed) for s in (10.0, 1.0, 1000.0, 100.0, 1e4) for seed in (0, 1)]
    other = {**run("KL λ=1", 1.0, 0.5, 0.1, 0.1), "method": "kl"}
    plain = [run("LoRA", None, 0.5, 0.1, 0.1, seed) for seed in (0, 1)]
    results["runs"] = [other, *made, *plain]
    for one in results["runs"]:
        one["weight_changes"] = counts(0.1)
    labels = [results["runs"][place]["name"] for place in drawn_runs(parse(results))]
    assert labels == ["lora-seed-0", *(f"lalora-strength-{s}-seed-0" for s in ("1", "100", "10000"))]
    assert "Of 7 settings 4 are drawn" in ChangesPanel(found(results)).about_picture
    results["runs"] = [other, *made[:2], *plain]
    labels = [results["runs"][place]["label"] for place in drawn_runs(parse(results))]
    assert labels == ["LoRA", "LaLoRA λ=10", "KL λ=1"]
    results["runs"][3]["weight_changes"] = None
    assert drawn_runs(parse(results)) == [4, 1, 0]
    assert "settings" not in ChangesPanel(found(results)).about_picture


def test_the_picture_holds_the_counts(moved: dict[str, Any]) -> None:
    with rc_context(STYLE):
        figure = ChangesPanel(found(moved)).figure()
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [axes.get_title(loc="left") for axes in panels[::2]] == ["LoRA", "LaLoRA λ=1", "LaLoRA λ=10"]
    for one, left, right in zip(moved["runs"], panels[::2], panels[1::2], strict=True):
        told = one["weight_changes"]
        (image,) = left.images
        s, e = told["start_limit"], told["end_limit"]
        assert image.get_extent() == [-s, s, -e, e]
        # Upwards is the end: a weight's share times 1 / the area of its bin.
        area = 4 * s * e / 49**2
        shown = numpy.ma.filled(image.get_array(), 0.0) * area * 600
        assert shown == pytest.approx(numpy.array(told["joint"]).T)
        assert image.norm.vmin > 0
        (line,) = left.lines
        assert (line.get_xdata() == line.get_ydata()).all()
        (stairs,) = (patch for patch in right.patches if isinstance(patch, StepPatch))
        values, edges, _ = stairs.get_data()
        assert values.tolist() == told["changes"]
        assert edges == pytest.approx([10 ** (-8 + k / 6) for k in range(55)])
        assert (right.get_xscale(), right.get_yscale()) == ("log", "log")
    norms = {(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in panels[::2]}
    assert len(norms) == 1
    assert len({axes.get_ylim() for axes in panels[::2]}) == 1


def test_page_and_folder_show_it(moved: dict[str, Any], tmp_path: Path) -> None:
    draw(found(moved), tmp_path)
    assert imread(tmp_path / "changes.png").std() > 0.05
    assert (tmp_path / "changes.pdf").read_bytes().startswith(b"%PDF")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    # And that of each data set over the steps.
    assert text.count('class="picture"') == 2
    # A density and the scale of its colours, for three runs.
    assert text.count("data:image/png;base64,") == 6
    assert "a weight on the dashed line did not move" in text
    assert "top 10&nbsp;%" in text


def test_without_counts_there_is_no_picture(results: dict[str, Any]) -> None:
    panel = ChangesPanel(found(results))
    assert panel.figure() is None
    assert not panel.is_empty
    assert "did not move" not in page(results)


@pytest.mark.parametrize("joint", [[[0]], [[5]]], ids=["no weight", "one bin"])
def test_little_is_enough(results: dict[str, Any], joint: list[list[int]]) -> None:
    number = joint[0][0]
    results["runs"][0]["weight_changes"] = {
        **{"weights": number, "start_limit": 1e-100, "end_limit": 1e-100, "joint": joint, "least_change": 1e-8},
        **{"most_change": 1e-7, "changes": [0], "unchanged": number, "smaller": 0, "larger": 0},
    }
    with rc_context(STYLE):
        figure = ChangesPanel(found(results)).figure()
        assert figure is not None
        figure.draw_without_rendering()
