"""Curvatures: positive semi-definite operators on an adapter's displacement, as pure tensors."""

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._inner import inner
from lalora.curvature._interface import Curvature

__all__ = ["Curvature", "Diagonal", "inner"]
