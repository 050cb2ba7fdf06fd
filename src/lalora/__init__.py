"""LoRA fine-tuning that keeps what the model already knows: Laplace-regularised low-rank adaptation."""

from lalora.errors import LaloraError, TrainingDivergedError
from lalora.laplace import Laplace, fit
from lalora.training import LaplaceMixin, LaplaceTrainer
from lalora.version import __version__

__all__ = [
    "LaloraError",
    "Laplace",
    "LaplaceMixin",
    "LaplaceTrainer",
    "TrainingDivergedError",
    "__version__",
    "fit",
]
