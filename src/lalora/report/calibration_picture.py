"""The picture of forecasts against measurements, on logarithmic axes."""

from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lalora.report.calibration import Point, calibration, curvatures
from lalora.report.pictures import MARKERS, QUIET, STYLE, Picture, framed, saved
from lalora.report.schema import Results

# Curvatures that agree lie on each other: each mark is smaller than the one below it, so that all are seen.
LOOKS = {
    "diagonal": ("#d55e00", "circle", 9),
    "kfac": ("#0072b2", "square", 10),
    "tri-kfac": ("#e6b23c", "triangle", 5.5),
    "weight-kfac": ("#7456c8", "diamond", 8),
    "weight-diagonal": ("#008a64", "star", 12),
}
_DASHES: tuple[tuple[int, ...], ...] = ((), (5, 2), (2, 2), (7, 2, 2, 2))


def calibration_picture(results: Results) -> Picture:
    """Returns the picture: forecast to the right, measured KL upwards, a colour a curvature, a dash a run."""
    found = calibration(results)
    with rc_context(STYLE):
        figure = framed(11, 5.6)
        grid: Any = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, key, title in zip(
            grid, ("source_kl", "heldout_kl"), ("On source text", "On held-out text"), strict=True
        ):
            _panel(axes, found, key)
            axes.set_title(title)
            axes.set_xlabel("forecast ½ΔᵀΛΔ, nats per token →")
        grid[0].set_ylabel("measured KL(base ‖ model), nats per token →")
        kinds = curvatures(found)
        handles = [
            Line2D([], [], color=_look(kind)[0], marker=MARKERS[_look(kind)[1]], markersize=7, label=kind)
            for kind in kinds
        ]
        runs = {point.run: point.label for point in found}
        handles += [
            Line2D([], [], color=QUIET, dashes=_dash(place), label=text)
            for place, text in enumerate(runs.values())
        ]  # fmt: skip
        handles.append(Line2D([], [], color=QUIET, linewidth=0.8, label="forecast = measured"))
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
        return saved(figure)


def _panel(axes: Axes, found: list[Point], key: str) -> None:
    axes.set(xscale="log", yscale="log")
    seen: list[float] = []
    for kind in curvatures(found):
        colour, shape, size = _look(kind)
        for place, run in enumerate(dict.fromkeys(point.run for point in found)):
            pairs = [
                (forecast, measured)
                for point in found
                if point.run == run
                and (forecast := point.forecasts.get(kind)) is not None
                and (measured := getattr(point, key)) is not None
                and min(forecast, measured) > 0  # a logarithm has no zero
            ]
            if not pairs:
                continue
            xs, ys = zip(*pairs, strict=True)
            seen += [*xs, *ys]
            axes.plot(xs, ys, color=colour, linewidth=1, dashes=_dash(place) or (None, None), alpha=0.6)
            fill = colour if key == "source_kl" else "white"
            axes.plot(
                xs, ys, MARKERS[shape], color=colour, markersize=size, markerfacecolor=fill,
                markeredgecolor="white" if key == "source_kl" else colour,
            )  # fmt: skip
    if seen:
        axes.plot([min(seen), max(seen)], [min(seen), max(seen)], color=QUIET, linewidth=0.8, zorder=0)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)


def _look(kind: str) -> tuple[str, str, float]:
    return LOOKS.get(kind, (QUIET, "hexagon", 7))


def _dash(place: int) -> tuple[int, ...]:
    return _DASHES[place % len(_DASHES)]
