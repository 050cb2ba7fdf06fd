"""What a fit would take, from the configuration of a model alone."""

from lalora.planning._plan import Cost, Plan, plan
from lalora.planning._speed import speed
from lalora.planning._without_weights import without_weights

__all__ = ["Cost", "Plan", "plan", "speed", "without_weights"]
