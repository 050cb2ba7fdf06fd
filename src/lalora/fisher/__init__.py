"""Stage I: run the model over source batches and collect what curvatures are made of."""

from lalora.batches import Batch
from lalora.fisher._batches import ContentHash, Sources, named_sources
from lalora.fisher._dataset import Dataset
from lalora.fisher._diagonal import DiagonalCollector
from lalora.fisher._hooks import Taps
from lalora.fisher._kronecker import KroneckerCollector
from lalora.fisher._mean_over_sources import Moments
from lalora.fisher._part import Part, own_part
from lalora.fisher._pass import Pass, loss_and_gradient
from lalora.fisher._second_moment import held
from lalora.fisher._statistics import STATISTICS, Wanted
from lalora.fisher._untouched import untouched

__all__ = [
    "STATISTICS",
    "Batch",
    "ContentHash",
    "Dataset",
    "DiagonalCollector",
    "KroneckerCollector",
    "Moments",
    "Part",
    "Pass",
    "Sources",
    "Taps",
    "Wanted",
    "held",
    "loss_and_gradient",
    "named_sources",
    "own_part",
    "untouched",
]
