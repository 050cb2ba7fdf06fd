"""The methods by the names that recipes use."""

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


def build(name: str, **knobs: Any) -> Method:
    """Build a method by its name in recipes.

    Args:
        name: Such as `lora` or `lalora`.
        **knobs: Its own settings.

    Returns:
        The method.

    Raises:
        LaloraError: If the name or a knob is unknown, or a knob is out of range.
    """
    if name not in METHODS:
        raise LaloraError(f"method '{name}' is unknown: there are {', '.join(METHODS)}")
    try:
        return METHODS[name](**knobs)
    except TypeError as error:
        raise LaloraError(f"method '{name}': {error}") from error
