"""After training: the best trade-offs between what an adapter learned and what it forgot, in closed form."""

from lalora.softening._front import Front, Prediction, soften

__all__ = ["Front", "Prediction", "soften"]
