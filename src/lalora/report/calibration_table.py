"""Forecasts and measurements as tables for the terminal."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lalora.report import numbers
from lalora.report.calibration import calibration, curvatures, datasets
from lalora.report.schema import parse


def calibration_tables(results: dict[str, Any]) -> list[Table]:
    """Returns what was measured and what was forecast, a row a point each; no table without forecasts.

    Raises:
        LaloraError: the results have another format or lack a field.
    """
    points = calibration(parse(results))
    if not points:
        return []
    kinds, names = curvatures(points), datasets(points)
    measured = _table("Measured: KL(base ‖ model) by data set, nats per token")
    for header in ("target\nloss", "source\nrise", *(f"KL\n{name}" for name in names), "KL\nsource"):
        measured.add_column(header, justify="right")
    foretold = _table("Forecast: ½ΔᵀΛΔ by curvature, nats per token; below it: measured KL on source / forecast")
    for header in ("KL\nsource", *(f"\n{kind}" for kind in kinds)):
        foretold.add_column(header, justify="right")
    named: set[int] = set()
    for point in points:
        place = (Text("" if point.run in named else point.label), str(point.step))
        named.add(point.run)
        mean = numbers.scientific(point.source_kl)
        by_name = (numbers.scientific(point.kl.get(name)) for name in names)
        measured.add_row(*place, numbers.nats(point.target_loss), numbers.change(point.source_rise), *by_name, mean)
        cells = (
            f"{numbers.scientific(point.forecasts.get(kind))}\n{numbers.factor(point.ratios.get(kind))}"
            for kind in kinds
        )
        foretold.add_row(*place, mean, *cells)
    return [measured, foretold]


def _table(title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("\nrun", max_width=18, overflow="fold")
    table.add_column("\nstep", justify="right")
    return table
