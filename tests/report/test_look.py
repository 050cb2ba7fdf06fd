from itertools import pairwise
from typing import Any

from lalora.report.look import DARK_PAGE, LIGHT_PAGE
from made_up_study import found


def brightness(colour: str) -> float:
    channels = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dim, bright = sorted((brightness(one), brightness(other)))
    return (bright + 0.05) / (dim + 0.05)


def many(results: dict[str, Any]) -> dict[str, Any]:
    template = results["runs"][0]
    methods = ["lora", "lalora", "l2", "migu", "milora", "corda", "ewc"]
    return {**results, "runs": [{**template, "method": method, "label": method} for method in methods]}


def test_strongest_of_every_method_stands_out_from_both_pages(results: dict[str, Any]) -> None:
    for look in found(many(results)).looks:
        assert contrast(look.light, LIGHT_PAGE) >= 3
        assert contrast(look.dark, DARK_PAGE) >= 3


def test_methods_differ_in_shape_and_colour(results: dict[str, Any]) -> None:
    drawn = found(many(results)).looks
    assert len({look.shape for look in drawn}) == len({look.light for look in drawn}) == 7


def test_more_methods_than_hues_still_differ(results: dict[str, Any]) -> None:
    template = results["runs"][0]
    runs = [{**template, "method": f"method {number}", "label": str(number)} for number in range(12)]
    assert len({(look.shape, look.light) for look in found({**results, "runs": runs}).looks}) == 12


def test_strengths_of_a_method_differ_in_depth_dash_and_size(results: dict[str, Any]) -> None:
    template = results["runs"][1]
    runs = [{**template, "label": f"λ={s}", "strength": s} for s in (100, 1, 10)]
    strong, weak, middle = found({**results, "runs": runs}).looks
    assert strong.shape == middle.shape == weak.shape
    for one, other in pairwise((strong, middle, weak)):
        assert brightness(one.light) < brightness(other.light)
        assert one.dash != other.dash
        assert one.size > other.size


def test_seeds_look_the_same(results: dict[str, Any]) -> None:
    runs = [{**results["runs"][1], "seed": seed} for seed in (0, 1)]
    one, other = found({**results, "runs": runs}).looks
    assert one == other


def test_curvatures_of_one_method_differ_in_hue_where_a_study_has_several(results: dict[str, Any]) -> None:
    template = results["runs"][1]
    kinds = ("diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal")
    runs = [
        {**template, "label": f"{kind} {strength}", "strength": strength, "settings": {"curvature": kind}}
        for kind in kinds
        for strength in (1, 10)
    ]
    drawn = found({**results, "runs": [results["runs"][0], *runs]}).looks
    assert len({look.shape for look in drawn[1::2]}) == len({look.light for look in drawn[1::2]}) == 5
    for weak, strong in zip(drawn[1::2], drawn[2::2], strict=True):
        assert weak.shape == strong.shape
        assert weak.light != strong.light
    alone = found({**results, "runs": runs[:2]}).looks
    assert alone[0].shape == found(results).looks[1].shape


def test_estimators_of_one_curvature_differ_in_hue_where_a_study_has_several(results: dict[str, Any]) -> None:
    template = results["runs"][1]
    runs = [
        {**template, "label": f"{fisher} {kind}", "settings": {"curvature": kind, "fisher": fisher}}
        for kind, fisher in (("diagonal", "sequence"), ("diagonal", "batch"), ("kfac", "token"))
    ]
    study = found({**results, "runs": runs})
    assert study.families == ["lalora diagonal sequence", "lalora diagonal batch", "lalora kfac token"]
    assert len({look.light for look in study.looks}) == 3
    # One estimator a curvature: nothing more to tell.
    assert found({**results, "runs": runs[1:]}).families == ["lalora diagonal", "lalora kfac"]
