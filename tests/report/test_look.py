import math
from itertools import combinations, pairwise
from typing import Any

import pytest

from lalora.report.look import DARK_PAGE, LIGHT_PAGE, dark_shade, rival_looks
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


def test_a_change_after_training_looks_like_no_method(results: dict[str, Any]) -> None:
    rivals = ["lines", "rewind", "intruders", "fisher-average", "regmean", "mats"]
    for methods in (["lora"], ["lora", "lalora"], ["lora", "lalora", "l2", "migu"]):
        after = rival_looks(rivals, methods)
        template = results["runs"][0]
        runs = [{**template, "method": method, "label": method} for method in methods]
        trained = found({**results, "runs": runs}).looks
        every = [(look.shape, look.light) for look in (*trained, *after.values())]
        assert len(set(every)) == len(every)
        hues = {look.light for look in trained}
        free = 7 - len(hues)
        # No colour is used for two things while there is another one.
        assert len({look.light for look in after.values()} - hues) >= min(free, len(rivals))
        assert len([look for look in after.values() if look.light in hues]) <= max(0, len(rivals) - free)


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def seen(colour: str, kind: str) -> tuple[float, ...]:
    """A colour as somebody with this colour blindness sees it, in CIE Lab."""
    channels = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in BLIND[kind])
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
    )
    f = [t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


@pytest.mark.parametrize("kind", BLIND)
def test_methods_whose_hues_look_alike_to_the_colour_blind_differ_in_shape(kind: str, results: dict[str, Any]) -> None:
    drawn = found(many(results)).looks
    for one, other in combinations(drawn, 2):
        for mode in ("light", "dark"):
            near = math.dist(seen(getattr(one, mode), kind), seen(getattr(other, mode), kind)) < 15
            assert not (near and one.shape == other.shape)


def test_every_shade_of_a_hue_has_one_in_the_dark(results: dict[str, Any]) -> None:
    template = results["runs"][1]
    runs = [{**template, "label": f"λ={s}", "strength": s} for s in (1, 2, 5, 10, 100, 1000)]
    for look in found({**results, "runs": [*results["runs"], *runs]}).looks:
        dark = dark_shade(look.light)
        assert dark is not None
        steps = zip(bytes.fromhex(dark[1:]), bytes.fromhex(look.dark[1:]), strict=True)
        assert max(abs(one - other) for one, other in steps) <= 3
    assert dark_shade("#123456") is None
