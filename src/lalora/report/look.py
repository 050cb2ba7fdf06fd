"""How runs look in every plot: hue and shape tell the method, depth, dash and size the strength.

The hues are Okabe and Ito's, which people with any common colour blindness tell apart, moved in lightness until
they stand out from the page by 3:1 in the light and in the dark.
"""

from dataclasses import dataclass

from lalora.report.schema import Results

LIGHT_PAGE, DARK_PAGE = "#ffffff", "#171a20"


@dataclass(frozen=True)
class Look:
    """The appearance of a run: colours as #rrggbb, dash in points, size relative to 1."""

    shape: str
    light: str
    dark: str
    dash: tuple[int, ...]
    size: float


@dataclass(frozen=True)
class _Family:
    shape: str
    light: str
    dark: str


_LORA = _Family("circle", "#d55e00", "#f28147")
_LALORA = _Family("diamond", "#0072b2", "#5ab6ec")
_OTHERS = (
    _Family("square", "#008a64", "#2cc295"),
    _Family("triangle", "#b3588d", "#e29ac4"),
    _Family("wedge", "#9a6f00", "#e6b23c"),
    _Family("hexagon", "#5b6472", "#a5b0bf"),
    _Family("star", "#7456c8", "#ab97ee"),
)
_DASHES: tuple[tuple[int, ...], ...] = ((), (6, 3), (2, 3), (8, 3, 2, 3))
_PALEST = 0.38


def looks(results: Results) -> list[Look]:
    """Returns one look a run, in the order of the runs; seeds of one strength look the same."""
    names = families(results)
    rivals = [name for name in dict.fromkeys(names) if name not in ("lora", "lalora")]
    hues = {"lora": _LORA, "lalora": _LALORA}
    left = [*_OTHERS] if "lalora" in names or len(rivals) <= len(_OTHERS) else [_LALORA, *_OTHERS]
    hues |= {name: _other(left, index) for index, name in enumerate(rivals)}
    return [_look(hues[name], *_rank(results, names, index)) for index, name in enumerate(names)]


def _other(left: list[_Family], index: int) -> _Family:
    """Returns the family of a rival; where hues come round again they have other shapes."""
    hue, shape = left[index % len(left)], left[(index + 2 * (index // len(left))) % len(left)]
    return _Family(shape.shape, hue.light, hue.dark)


def families(results: Results) -> list[str]:
    """Returns what the runs of one hue share: the method, and the curvature where a study has several."""
    curvatures = {str(run.settings.get("curvature")) for run in results.runs if "curvature" in run.settings}
    return [
        f"{run.method} {run.settings['curvature']}"
        if len(curvatures) > 1 and "curvature" in run.settings
        else run.method
        for run in results.runs
    ]


def _rank(results: Results, names: list[str], index: int) -> tuple[int, int]:
    """Returns the place of a run among the variants of its family, weakest first, and their number."""
    family = [run for name, run in zip(names, results.runs, strict=True) if name == names[index]]
    variants = sorted({(run.strength or 0.0, run.label) for run in family})
    run = results.runs[index]
    return variants.index((run.strength or 0.0, run.label)), len(variants)


def _look(family: _Family, place: int, variants: int) -> Look:
    strongest = variants - 1
    paleness = _PALEST * (1 - place / strongest) if strongest else 0.0
    return Look(
        shape=family.shape,
        light=_mix(family.light, LIGHT_PAGE, paleness),
        dark=_mix(family.dark, DARK_PAGE, paleness),
        dash=_DASHES[(strongest - place) % len(_DASHES)],
        size=1.0 + (0.35 * place / strongest if strongest else 0.0),
    )


def _mix(colour: str, page: str, part: float) -> str:
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(page[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * part) for a, b in pairs).hex()
