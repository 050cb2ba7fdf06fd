"""Refuse Trainers in which a hook after the last backward pass would never be called."""

from __future__ import annotations

import inspect
from typing import Any

from lalora.errors import LaloraError


def require_hooked(kind: type) -> None:
    """Look for a class with a training loop of its own."""
    for owner in kind.__mro__:
        if owner.__module__.split(".")[0] not in ("lalora", "transformers") and _has_own_loop(owner):
            raise LaloraError(
                f"{owner.__name__} has a training loop of its own, in which nothing of lalora would act: it cannot be "
                "served; train with another Trainer, or soften the adapter afterwards"
            )


def _has_own_loop(owner: type) -> bool:
    own: Any = vars(owner).get("train")
    if own is None:
        return False
    try:
        source = inspect.getsource(own)
    except (OSError, TypeError):  # made while the program runs
        return False
    return "super().train(" not in source.replace(f"super({owner.__name__}, self)", "super()")
