"""What a model knows of every domain: per-token loss, KL to its base, task accuracy."""

from lalora.extras import named_if_missing

with named_if_missing():
    from lalora.evaluation.harness import score_accuracy
    from lalora.evaluation.kept_base import KeptBase
    from lalora.evaluation.metrics import EvalSet, evaluate

__all__ = ["EvalSet", "KeptBase", "evaluate", "score_accuracy"]
