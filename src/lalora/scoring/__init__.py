"""How well a model predicts a text, and how far it has drifted from its base there, in nats per token."""

from lalora.scoring._compared import MOST_BYTES, Compared
from lalora.scoring._drift import Drift, drift
from lalora.scoring._interval import Interval, interval
from lalora.scoring._rows import RowScores
from lalora.scoring._text import TextScore, ready_batches, score_loss, score_text

__all__ = [
    "MOST_BYTES",
    "Compared",
    "Drift",
    "Interval",
    "RowScores",
    "TextScore",
    "drift",
    "interval",
    "ready_batches",
    "score_loss",
    "score_text",
]
