"""After training: the best trade-offs between what an adapter learned and what it forgot, in closed form."""

from lalora.softening._adapter import keep_beside, scaled, scaled_by, unchanged, without_change
from lalora.softening._budget import STRENGTHS, Choice, require_budget, within
from lalora.softening._front import Front, Prediction
from lalora.softening._measured import HeldOut, Measured, hashes
from lalora.softening._refine import LEARNING_RATE
from lalora.softening._soften import require_softenable, soften, soften_with, trained_anchors
from lalora.softening._soften_weights import soften_weights

__all__ = [
    "LEARNING_RATE",
    "STRENGTHS",
    "Choice",
    "Front",
    "HeldOut",
    "Measured",
    "Prediction",
    "hashes",
    "keep_beside",
    "require_budget",
    "require_softenable",
    "scaled",
    "scaled_by",
    "soften",
    "soften_weights",
    "soften_with",
    "trained_anchors",
    "unchanged",
    "within",
    "without_change",
]
