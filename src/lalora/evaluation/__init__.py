"""What a model knows and how far it has drifted: per-token loss, KL to its base, task accuracy."""

from lalora.evaluation.accuracy import score_accuracy
from lalora.evaluation.measure import EvalSet, evaluate
from lalora.evaluation.text import TextScore, score_loss, score_text

__all__ = ["EvalSet", "TextScore", "evaluate", "score_accuracy", "score_loss", "score_text"]
