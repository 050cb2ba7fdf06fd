"""Whether lalora works with a model, before anything is fitted: `lalora.check`."""

from lalora.checking._check import Checked, check
from lalora.checking._layers import Layers
from lalora.checking._side_by_side import Difference
from lalora.checking._tokens import Tokens

__all__ = ["Checked", "Difference", "Layers", "Tokens", "check"]
