"""Refuse Trainers in which a hook after the last backward pass would never be called."""

from __future__ import annotations

import inspect
from typing import Any

from lalora.errors import LaloraError


def require_hooked(kind: type, mixin: type) -> None:
    """Look for a class that goes past the mixin: one in front of it with a step, or any with a loop, of its own."""
    place = kind.__mro__.index(mixin)
    for number, owner in enumerate(kind.__mro__):
        if owner.__module__.split(".")[0] in ("lalora", "transformers"):
            continue
        if number < place and _goes_past(owner, "training_step"):
            raise LaloraError(
                f"{owner.__name__} has a training_step that never calls super().training_step(), so that nothing of "
                "lalora would act: call it there, or put the mixin in front of this class"
            )
        if _goes_past(owner, "train"):
            raise LaloraError(
                f"{owner.__name__} has a training loop of its own, in which nothing of lalora would act: it cannot be "
                "served; train with another Trainer, or soften the adapter afterwards"
            )


def _goes_past(owner: type, method: str) -> bool:
    own: Any = vars(owner).get(method)
    if own is None:
        return False
    try:
        source = inspect.getsource(own)
    except (OSError, TypeError):  # made while the program runs
        return False
    return f"super().{method}(" not in source.replace(f"super({owner.__name__}, self)", "super()")
