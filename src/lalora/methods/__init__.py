"""Ways to fine-tune with LoRA, all behind one small base class."""

from lalora.methods._base_weights import base_weight, require_floating
from lalora.methods.base import Method
from lalora.methods.catalogue import METHODS, build
from lalora.methods.corda import Corda
from lalora.methods.ewc_lora import EwcLora
from lalora.methods.flat_lora import FlatLora
from lalora.methods.in_turn import InTurn
from lalora.methods.intruders import Intruders
from lalora.methods.kl import KL
from lalora.methods.l2 import L2
from lalora.methods.l2_b import L2B
from lalora.methods.l2_weight import L2Weight
from lalora.methods.lalora import LaLoRA
from lalora.methods.lora import Lora
from lalora.methods.migu import Migu
from lalora.methods.milora import Milora
from lalora.methods.precision_groups import precision_groups
from lalora.methods.replay import Replay
from lalora.methods.weight_changes import weight_changes

__all__ = [
    "KL",
    "L2",
    "L2B",
    "METHODS",
    "Corda",
    "EwcLora",
    "FlatLora",
    "InTurn",
    "Intruders",
    "L2Weight",
    "LaLoRA",
    "Lora",
    "Method",
    "Migu",
    "Milora",
    "Replay",
    "base_weight",
    "build",
    "precision_groups",
    "require_floating",
    "weight_changes",
]
