"""Ways to change an adapter after its training, as others have them, all behind one small base class."""

from lalora.posthoc.base import Rival
from lalora.posthoc.catalogue import RIVALS, rival_named
from lalora.posthoc.rewind import Rewind, kept_steps
from lalora.posthoc.trained import Fit, Trained

__all__ = ["RIVALS", "Fit", "Rewind", "Rival", "Trained", "kept_steps", "rival_named"]
