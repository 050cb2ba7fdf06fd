"""A grid of differences from plain LoRA with the mean of each row beside it: its numbers, its words, its colours."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from lalora.report.formatting import change, points
from lalora.results.schema import Evaluation


@dataclass(frozen=True)
class Quantity:
    """A difference from plain LoRA: of accuracies in percentage points (`share`), else in nats per token.

    It counts what was `removed` of plain LoRA's, or what there is more; `up` says whether more is better.
    """

    title: str
    read: Callable[[Evaluation], float | None]
    up: bool = True
    removed: bool = False
    share: bool = False


@dataclass(frozen=True)
class Scale:
    """The largest difference in all maps of a quantity and the ends of their bars, so that maps can be compared."""

    largest: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class HeatMap:
    """A grid of differences from plain LoRA, averaged over seeds alone; None where nothing was measured.

    `fixed` are the settings that all its cells share, as text; `seeds` the fewest and the most that a cell is averaged
    over; `over` what the mean of a row is averaged over besides; `framed` the cells, by row and column, whose curvature
    knows just the data set that they are measured on.
    """

    family: str
    fixed: str
    quantity: Quantity
    row_title: str
    column_title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    seeds: tuple[int, int]
    over: str
    framed: frozenset[tuple[int, int]] = frozenset()
    scale: Scale = Scale()

    @property
    def heading(self) -> str:
        """Whose map it is, and at what settings."""
        return f"{self.family}, {self.fixed}" if self.fixed else self.family

    @property
    def unit(self) -> str:
        """The unit of all cells."""
        return "percentage points" if self.quantity.share else "nats per token"

    @property
    def cells(self) -> str:
        """What each cell is averaged over."""
        fewest, most = self.seeds
        if most == 1:
            return "one seed a cell"
        return f"mean over {most} seeds" if fewest == most else f"mean over {fewest} to {most} seeds"

    @property
    def bars(self) -> list[float] | None:
        """The mean of each row, None where a cell is missing: rows of other columns cannot be compared."""
        full = [[value for value in row if value is not None] for row in self.values]
        return [fmean(row) for row in full] if all(len(row) == len(self.columns) for row in full) else None

    def text(self, value: float | None) -> str:
        """Returns a cell as written."""
        return points(value) if self.quantity.share else change(value)

    def worth(self, value: float | None) -> float:
        """Returns a cell from -1, worst, to 1, best; 0 is as good as plain LoRA."""
        if value is None or self.scale.largest == 0:
            return 0.0
        return (value if self.quantity.up else -value) / self.scale.largest

    def extent(self, bar: float) -> tuple[float, float]:
        """Returns where a bar begins and how long it is, as parts of the room for bars."""
        room = self.scale.high - self.scale.low
        return ((min(bar, 0.0) - self.scale.low) / room, abs(bar) / room) if room else (0.0, 0.0)
