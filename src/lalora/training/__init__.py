"""Stage II where users are: the Hugging Face Trainer and everything built on it."""

from lalora.training._budget import TRAINED
from lalora.training._drift_callback import DriftCallback
from lalora.training._gradient_hook import GradientHookMixin
from lalora.training._laplace import LaplaceMixin, LaplaceTrainer
from lalora.training._laplace_callback import LaplaceCallback
from lalora.training._methods import MethodMixin, MethodTrainer

__all__ = [
    "TRAINED",
    "DriftCallback",
    "GradientHookMixin",
    "LaplaceCallback",
    "LaplaceMixin",
    "LaplaceTrainer",
    "MethodMixin",
    "MethodTrainer",
]
