"""Shapes in annotations, checked at every call while tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import beartype

F = TypeVar("F", bound=Callable[..., Any])


def checked(function: F) -> F:
    """Checks the arguments and the result that have a shape; the types of the others are mypy's to check."""
    function.__annotations__ = {
        name: hint if "jaxtyping." in str(hint) and "Self" not in str(hint) else object
        for name, hint in function.__annotations__.items()
    }
    return beartype(function)
