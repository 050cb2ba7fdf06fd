"""Curvatures: what it costs an adapter to move, as pure tensors."""

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._factor import Factor
from lalora.curvature._factors import Factors
from lalora.curvature._interface import Curvature, LinearCurvature

__all__ = ["Curvature", "Diagonal", "Factor", "Factors", "LinearCurvature"]
