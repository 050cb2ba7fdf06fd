"""Stage I: run the model over source batches and turn activations and gradients into curvature."""

from lalora.fisher._batches import Batch, Sources, named_sources
from lalora.fisher._estimate import DiagonalFisher, SourceFisher
from lalora.fisher._estimators import ESTIMATORS

__all__ = ["ESTIMATORS", "Batch", "DiagonalFisher", "SourceFisher", "Sources", "named_sources"]
