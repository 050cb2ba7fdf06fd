"""The Laplace approximation over an adapter: fit it, charge with it, ship it."""

from lalora.laplace._fit import fit
from lalora.laplace._laplace import Laplace, require_strength
from lalora.laplace._provenance import Dataset, Provenance

__all__ = ["Dataset", "Laplace", "Provenance", "fit", "require_strength"]
