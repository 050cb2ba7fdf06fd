"""Stage I: run the model over source batches and turn activations and gradients into curvature."""

from lalora.batches import Batch
from lalora.fisher._batches import ContentHash, Sources, named_sources
from lalora.fisher._diagonal import DiagonalCollector
from lalora.fisher._estimators import ESTIMATORS
from lalora.fisher._kronecker import KroneckerCollector
from lalora.fisher._moments import Moments
from lalora.fisher._part import Part, own_part
from lalora.fisher._pass import Counts, Pass

__all__ = [
    "ESTIMATORS",
    "Batch",
    "ContentHash",
    "Counts",
    "DiagonalCollector",
    "KroneckerCollector",
    "Moments",
    "Part",
    "Pass",
    "Sources",
    "named_sources",
    "own_part",
]
