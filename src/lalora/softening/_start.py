"""Where a front begins: the scale at which the trained change serves the target best."""

from __future__ import annotations

from collections.abc import Sequence

from lalora.batches import Batch
from lalora.scoring import score_loss
from lalora.softening._carrier import Carrier

STEP = 1 / 8


def best_scale(carrier: Carrier, target: Sequence[Batch]) -> float:
    """Go back from the trained adapter as long as the loss on held-out target rows falls.

    Training rarely ends at a minimum of that loss: a smaller change often serves the target better, and the base too.
    """
    best, least = 1.0, score_loss(carrier.model, target)
    while best > STEP:
        with carrier.scaled(best - STEP):
            loss = score_loss(carrier.model, target)
        if loss >= least:
            break
        best, least = best - STEP, loss
    return best
