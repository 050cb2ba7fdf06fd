"""The methods by the names that recipes use."""

import difflib
from typing import Any

from lalora.errors import LaloraError
from lalora.methods.base import Method
from lalora.methods.corda import Corda
from lalora.methods.ewc_lora import EwcLora
from lalora.methods.flat_lora import FlatLora
from lalora.methods.intruders import Intruders
from lalora.methods.kl import KL
from lalora.methods.l2 import L2
from lalora.methods.l2_b import L2B
from lalora.methods.l2_weight import L2Weight
from lalora.methods.lalora import LaLoRA
from lalora.methods.lora import Lora
from lalora.methods.migu import Migu
from lalora.methods.milora import Milora
from lalora.methods.replay import Replay

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Lora, LaLoRA, EwcLora, L2, L2B, L2Weight, Migu, Milora, Corda, FlatLora, Replay, KL, Intruders)
}
"""What recipes can name. A script adds its own class before it loads a recipe; a recipe, which may be a stranger's,
imports nothing."""


def method_named(name: str) -> type[Method]:
    """Look up a method by its name in recipes."""
    if name not in METHODS:
        raise LaloraError(f"method '{name}' is unknown: there are {', '.join(METHODS)}")
    return METHODS[name]


def knob_of(name: str) -> str:
    """Name the setting of a run's methods, such as `kl` or `lalora+kl`, that trades learning against forgetting."""
    first, *others = name.split("+")
    knob = METHODS[first].knob if first in METHODS else "strength"
    return f"{first}.{knob}" if others and first in METHODS and knob in METHODS[first].options() else knob


def label_of(name: str) -> str:
    """Name a run's methods, such as `kl` or `lalora+kl`, for readers."""
    return " + ".join(METHODS[part].label if part in METHODS else part for part in name.split("+"))


def build(name: str, **options: Any) -> Method:
    """Build a method by its name in recipes.

    Args:
        name: Such as `lora` or `lalora`.
        **options: Its own options.

    Returns:
        The method.

    Raises:
        LaloraError: If the name or an option is unknown, or a value is out of range.
    """
    kind = method_named(name)
    for key in options:
        if key not in kind.options():
            raise LaloraError(no_option(kind, key))
    return kind(**options)


def no_option(kind: type[Method], key: str) -> str:
    """Say that a method does not have an option, and which one may be meant."""
    close = difflib.get_close_matches(key, list(kind.options()), n=1)
    return f"method '{kind.name}' has no '{key}'" + (f": did you mean '{close[0]}'?" if close else "")
