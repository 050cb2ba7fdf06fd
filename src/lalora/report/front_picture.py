"""The front of an adapter as a picture: scaled down, and softened."""

from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

from lalora.report.front import Document, alike, chosen
from lalora.report.look import BLUE, INK, LIGHT_PAGE, ORANGE, QUIET
from lalora.report.pictures import STYLE, Picture, framed, legend, saved

_SCALED, _SOFTENED = ORANGE.light, BLUE.light


def front_picture(front: Document) -> Picture:
    """Returns what was learned against the drift on source text, and on held-out text where there is any."""
    panels = {"source text": front["sources"]} | ({"held-out text": front["held_out"]} if front["held_out"] else {})
    with rc_context(STYLE):
        figure = framed(6.2 * len(panels), 4.8)
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, names) in zip(every, panels.items(), strict=True):
            _panel(axes, front, names)
            axes.set_title(f"Drift on {title}", pad=12)
            axes.set_xlabel("learned: fall of the target loss, nats per token →")
            axes.set_ylabel("KL(base ‖ model), nats per token (log)")
        legend(figure, every, 90 * len(panels))
        return saved(figure)


def _panel(axes: Axes, front: Document, names: list[str]) -> None:
    base = alike(front, "scaled", 0.0)["target_loss"]

    def at(row: Document) -> tuple[float, float]:
        return base - row["target_loss"], sum(row["kl"][name] for name in names) / len(names)

    scaled = [row for row in front["versions"] if row["kind"] == "scaled" and row["alpha"] > 0]
    softened = sorted((row for row in front["versions"] if row["kind"] == "softened"), key=lambda row: row["strength"])
    for rows, colour, label in ((scaled, _SCALED, "scaled down"), (softened, _SOFTENED, "softened")):
        places = [at(row) for row in rows if at(row)[1] > 0]
        if places:
            axes.plot(*zip(*places, strict=True), "o-", color=colour, markersize=5, linewidth=1.4, label=label)
    for row in scaled:
        _name(axes, at(row), "adapter" if row["alpha"] == 1 else f"×{row['alpha']:g}", _SCALED)
    picked = chosen(front)["strength"]
    for row in softened:
        # Those that the search tried on its way stand too close for names.
        if row["strength"] not in (*front["strengths"], picked) or (row["strength"] != picked and _near(row, picked)):
            continue
        _name(axes, at(row), f"λ={row['strength']:.3g}", _SOFTENED)
    if at(chosen(front))[1] > 0:
        axes.plot(
            *at(chosen(front)),
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=INK,
            label="chosen",
            zorder=6,
        )
    if front["choice"]["by"] == "budget" and names == front["sources"]:
        axes.axhline(front["choice"]["budget"], color=QUIET, linestyle=":", linewidth=1.2, label="budget")
    axes.set_yscale("log")


def _near(row: Document, strength: float) -> bool:
    return strength > 0 and 1 / 2 < row["strength"] / strength < 2


def _name(axes: Axes, place: tuple[float, float], text: str, colour: str) -> None:
    if place[1] > 0:
        style: dict[str, Any] = {"fontsize": 8, "color": colour, "textcoords": "offset points", "xytext": (7, -3)}
        axes.annotate(
            text, place, **style, bbox={"facecolor": LIGHT_PAGE, "edgecolor": "none", "pad": 0.5, "alpha": 0.7}
        )
