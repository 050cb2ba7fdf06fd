"""LoRA fine-tuning that keeps what the model already knows: Laplace-regularised low-rank adaptation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lalora.errors import LaloraError, TrainingDivergedError
from lalora.version import __version__

if TYPE_CHECKING:
    from lalora.checking import check
    from lalora.laplace import Laplace, fit
    from lalora.scoring import Drift, drift
    from lalora.softening import Front, soften
    from lalora.text import source_batches
    from lalora.training import (
        DriftCallback,
        LaplaceCallback,
        LaplaceMixin,
        LaplaceTrainer,
        MethodMixin,
        MethodTrainer,
    )

__all__ = [
    "Drift",
    "DriftCallback",
    "Front",
    "LaloraError",
    "Laplace",
    "LaplaceCallback",
    "LaplaceMixin",
    "LaplaceTrainer",
    "MethodMixin",
    "MethodTrainer",
    "TrainingDivergedError",
    "__version__",
    "check",
    "drift",
    "fit",
    "soften",
    "source_batches",
]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; the command line must be able to end Ctrl-C well from its first moment.
    rooms = {
        "checking": ("check",),
        "laplace": ("Laplace", "fit"),
        "scoring": ("Drift", "drift"),
        "softening": ("Front", "soften"),
        "text": ("source_batches",),
        "training": (
            "DriftCallback",
            "LaplaceCallback",
            "LaplaceMixin",
            "LaplaceTrainer",
            "MethodMixin",
            "MethodTrainer",
        ),
    }
    for room, names in rooms.items():
        if name in names:
            return getattr(import_module(f"lalora.{room}"), name)
    raise AttributeError(f"module 'lalora' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
