"""Stage II where users are: the Hugging Face Trainer and everything built on it."""

from lalora.training._after_backward import AfterBackwardMixin
from lalora.training._laplace_trainer import LaplaceMixin, LaplaceTrainer

__all__ = ["AfterBackwardMixin", "LaplaceMixin", "LaplaceTrainer"]
