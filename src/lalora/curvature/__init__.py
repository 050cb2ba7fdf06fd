"""Curvatures: what it costs an adapter to move, as pure tensors."""

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._interface import Curvature, LinearCurvature

__all__ = ["Curvature", "Diagonal", "LinearCurvature"]
