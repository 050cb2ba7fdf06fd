"""How a mean over seeds is written: always with its standard deviation, in tables as in sentences."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lalora.report import formatting
from lalora.report.column import Column
from lalora.report.seeds import Spread, mean_of

EXPLAINED = "Means over seeds ± one standard deviation."


def with_deviation(measured: Spread | None, write: Callable[[float], str]) -> str:
    """Returns a mean with its deviation, where several seeds give one: 0.182 ± 0.009."""
    if measured is None:
        return formatting.MISSING
    deviation = "" if measured.deviation is None else f" ± {write(measured.deviation).lstrip('+')}"
    return write(measured.mean) + deviation


def in_percent(share: float) -> str:
    """Returns a share in percent under a heading that names the unit: 51.6."""
    return formatting.accuracy(share).removesuffix("%")


@dataclass(frozen=True)
class MeanColumn(Column):
    """A column of `Spread`: shows mean ± deviation, and keeps both as numbers for other programs."""

    def of(self, row: Any) -> Any:
        """Returns the mean in a row."""
        return mean_of(self._spread(row))

    def text(self, row: Any) -> str:
        """Returns mean and deviation as written."""
        return with_deviation(self._spread(row), self.write)

    def numbers(self, row: Any) -> dict[str, Any]:
        """Returns mean and deviation."""
        measured = self._spread(row)
        return {self.field: mean_of(measured), f"{self.field}_deviation": measured and measured.deviation}

    def _spread(self, row: Any) -> Spread | None:
        found: Spread | None = super().of(row)
        return found
