"""Which methods go together in one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lalora.errors import LaloraError
from lalora.methods.base import Method
from lalora.methods.lora import Lora


def require_compatible(kinds: Sequence[type[Method]]) -> None:
    """Refuse methods that make no sense in one run."""
    names = [kind.name for kind in kinds]
    if not names:
        raise LaloraError("a run needs at least one method")
    for name in names:
        if names.count(name) > 1:
            raise LaloraError(f"method '{name}' is there twice: a run has each of its methods once")
    if len(names) > 1 and Lora.name in names:
        raise LaloraError(f"method '{Lora.name}' adds nothing to others: leave it out")
    starting = [kind.name for kind in kinds if kind.own_start]
    if len(starting) > 1:
        raise LaloraError(f"methods '{starting[0]}' and '{starting[1]}' both choose the start: leave one of them out")
    for kind in kinds:
        if starting and kind.untouched_base:
            raise LaloraError(
                f"method '{kind.name}' compares with the untouched weights, which '{starting[0]}' replaces: leave one "
                "of them out"
            )


def require_methods(methods: object) -> None:
    """Refuse what is no list of methods."""
    if not (isinstance(methods, Sequence) and all(isinstance(method, Method) for method in methods)):
        raise LaloraError("methods must be a list of methods, such as methods=[KL()]: see lalora.methods")
    for method in methods:
        if missing := [name for name in ("name", "label") if not isinstance(getattr(method, name, None), str)]:
            raise LaloraError(
                f"{type(method).__name__} has no {missing[0]}: give the class {missing[0]} = '…', as every method has"
            )


def require_engine(engine: str | None, methods: Iterable[Method]) -> None:
    """Refuse methods that read or change what under this engine lies in parts in several processes."""
    for method in methods:
        if engine is not None and engine not in method.engines:
            raise LaloraError(
                f"method '{method.name}' was never tested under {engine}, where each process holds a part of the "
                "adapter: train it with one process or DDP"
            )
