"""What a model knows of every domain: per-token loss, KL to its base, task accuracy."""

from lalora.evaluation.accuracy import score_accuracy
from lalora.evaluation.measure import EvalSet, evaluate

__all__ = ["EvalSet", "evaluate", "score_accuracy"]
