"""The Laplace approximation over an adapter: fit it, charge with it, ship it."""

from lalora.laplace._fit import fit
from lalora.laplace._laplace import Laplace
from lalora.laplace._limits import require_non_negative
from lalora.laplace._provenance import Dataset, Provenance

__all__ = ["Dataset", "Laplace", "Provenance", "fit", "require_non_negative"]
