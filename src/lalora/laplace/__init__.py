"""The Laplace approximation over an adapter: fit it, make a penalty of it, ship it."""

from lalora.fisher import Dataset
from lalora.laplace._anchors import anchors_of, copy_with_adapter, target_layers
from lalora.laplace._fit import fit
from lalora.laplace._laplace import Laplace
from lalora.laplace._limits import require_integer, require_non_negative
from lalora.laplace._place import laplace_folder
from lalora.laplace._provenance import Provenance
from lalora.laplace._refit import refit
from lalora.laplace._refitting import Refitting, require_sources
from lalora.laplace._same_base import fingerprint
from lalora.laplace._same_model import adapted_layers, require_fitted_on
from lalora.laplace._settings import FitSettings

__all__ = [
    "Dataset",
    "FitSettings",
    "Laplace",
    "Provenance",
    "Refitting",
    "adapted_layers",
    "anchors_of",
    "copy_with_adapter",
    "fingerprint",
    "fit",
    "laplace_folder",
    "refit",
    "require_fitted_on",
    "require_integer",
    "require_non_negative",
    "require_sources",
    "target_layers",
]
