"""The one table of colours and marks, and how runs look: hue and shape for the method, depth for the strength.

The hues are Okabe and Ito's, which people with any common colour blindness tell apart, moved in lightness until
they stand out from the page by 3:1 in the light and in the dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from lalora.results.schema import Results, Run

LIGHT_PAGE, DARK_PAGE = "#ffffff", "#171a20"
INK, QUIET, GRID = "#1c2026", "#5b6472", "#e4e7eb"


@dataclass(frozen=True)
class Hue:
    """A colour as #rrggbb, on a light and on a dark page."""

    light: str
    dark: str


ORANGE = Hue("#d55e00", "#f28147")
BLUE = Hue("#0072b2", "#5ab6ec")
GREEN = Hue("#008a64", "#2cc295")
PINK = Hue("#b3588d", "#e29ac4")
GOLD = Hue("#9a6f00", "#e6b23c")
SLATE = Hue("#5b6472", "#a5b0bf")
VIOLET = Hue("#7456c8", "#ab97ee")
BETTER, WORSE = Hue("#5aa5d4", "#1f6f9f"), Hue("#e8925a", "#a4531a")
"""Grounds of numbers: light enough for dark figures on them, and the other way round."""
HUES = {"orange": ORANGE, "blue": BLUE, "green": GREEN, "pink": PINK, "gold": GOLD, "slate": SLATE, "violet": VIOLET}
"""By what the page's style calls them."""

MARKERS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "triangle": "^",
    "wedge": "v",
    "hexagon": "h",
    "star": "*",
}
"""The shapes by matplotlib's names; the page draws them itself."""

DASHES: tuple[tuple[int, ...], ...] = ((), (6, 3), (2, 3), (8, 3, 2, 3))

# Curvatures that agree lie on each other: each mark is smaller than the one below it, so that all are seen.
CURVATURES = {
    "diagonal": (ORANGE.light, "circle", 9.0),
    "kfac": (BLUE.light, "square", 10.0),
    "tri-kfac": (GOLD.light, "triangle", 5.5),
    "weight-kfac": (VIOLET.light, "diamond", 8.0),
    "weight-diagonal": (GREEN.light, "star", 12.0),
}
OTHER_CURVATURE = (QUIET, "hexagon", 7.0)


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
    hue: Hue


_LORA, _LALORA = _Family("circle", ORANGE), _Family("diamond", BLUE)
_OTHERS = (
    _Family("square", GREEN),
    _Family("triangle", PINK),
    _Family("wedge", GOLD),
    _Family("hexagon", SLATE),
    _Family("star", VIOLET),
)
_PALEST = 0.38
_ROUNDING = 2
"""Of a channel, in steps of 255, where a paleness is not a whole percent."""


def looks(results: Results, names: list[str]) -> list[Look]:
    """Returns one look a run by the name of its family; seeds of one strength look the same."""
    drawn = _drawn(names)
    return [_look(drawn[name], *_rank(results, names, index)) for index, name in enumerate(names)]


def rival_looks(names: Sequence[str], families: Sequence[str]) -> dict[str, Look]:
    """Returns one look by the name of each change after training, small, that none of the families has.

    Hues that no family has come first; where all are taken, it is hue and shape together that no other has.
    """
    taken = set(_drawn(families).values())
    hues = {one.hue for one in taken}
    every = [*_OTHERS, _LALORA, _LORA]
    free = [one for one in (_other(every, index) for index in range(len(every) ** 2)) if one not in taken]
    free.sort(key=lambda one: one.hue in hues)
    return {
        name: Look(shape=one.shape, light=one.hue.light, dark=one.hue.dark, dash=(), size=0.5)
        for name, one in zip(names, free, strict=False)
    }


@cache
def dark_shade(colour: str) -> str | None:
    """Returns what a colour of the light page is on the dark one; None of one that is no shade of a hue."""
    for hue in HUES.values():
        for percent in range(round(100 * _PALEST) + 1):
            near = zip(_channels(_mix(hue.light, LIGHT_PAGE, percent / 100)), _channels(colour), strict=True)
            if all(abs(one - other) <= _ROUNDING for one, other in near):
                return _mix(hue.dark, DARK_PAGE, percent / 100)
    return None


def _drawn(names: Sequence[str]) -> dict[str, "_Family"]:
    """Returns hue and shape of each family."""
    rivals = [name for name in dict.fromkeys(names) if name not in ("lora", "lalora")]
    left = [*_OTHERS] if "lalora" in names or len(rivals) <= len(_OTHERS) else [_LALORA, *_OTHERS]
    fixed = {name: one for name, one in (("lora", _LORA), ("lalora", _LALORA)) if name in names}
    return fixed | {name: _other(left, index) for index, name in enumerate(rivals)}


def _other(left: list[_Family], index: int) -> _Family:
    """Returns the family of a rival; where hues come round again they have other shapes."""
    hue, shape = left[index % len(left)], left[(index + 2 * (index // len(left))) % len(left)]
    return _Family(shape.shape, hue.hue)


def families(results: Results) -> list[str]:
    """Returns what the runs of one hue share: the method, and where a study has several the curvature and estimator."""
    fits = {(str(run.settings["curvature"]), str(run.settings.get("fisher"))) for run in _fitted(results)}
    curvatures = {curvature for curvature, _ in fits}
    told = [*(["curvature"] if len(curvatures) > 1 else []), *(["fisher"] if len(fits) > len(curvatures) else [])]
    return [
        " ".join([run.method, *(str(run.settings[key]) for key in told if key in run.settings)]) for run in results.runs
    ]


def _fitted(results: Results) -> list[Run]:
    return [run for run in results.runs if "curvature" in run.settings]


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
        light=_mix(family.hue.light, LIGHT_PAGE, paleness),
        dark=_mix(family.hue.dark, DARK_PAGE, paleness),
        dash=DASHES[(strongest - place) % len(DASHES)],
        size=1.0 + (0.35 * place / strongest if strongest else 0.0),
    )


def _mix(colour: str, page: str, part: float) -> str:
    pairs = zip(_channels(colour), _channels(page), strict=True)
    return "#" + bytes(round(a + (b - a) * part) for a, b in pairs).hex()


def _channels(colour: str) -> bytes:
    return bytes.fromhex(colour[1:])
