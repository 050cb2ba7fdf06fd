"""The rivals by the names that recipes use."""

from lalora.errors import LaloraError
from lalora.posthoc.base import Rival
from lalora.posthoc.fisher_average import FisherAverage
from lalora.posthoc.intruders import IntruderRemoval
from lalora.posthoc.lines import Lines
from lalora.posthoc.mats import Mats
from lalora.posthoc.regmean import RegMean
from lalora.posthoc.rewind import Rewind

RIVALS: dict[str, type[Rival]] = {
    rival.name: rival for rival in (Lines, Rewind, IntruderRemoval, FisherAverage, RegMean, Mats)
}
"""What `after` in recipes can name."""


def rival_named(name: str) -> type[Rival]:
    """Look up a rival by its name in recipes."""
    if name not in RIVALS:
        raise LaloraError(f"rival '{name}' is unknown: there are {', '.join(RIVALS)}")
    return RIVALS[name]
