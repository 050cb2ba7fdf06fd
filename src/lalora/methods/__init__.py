"""Ways to fine-tune with LoRA, all behind one small base class."""

from lalora.methods.base import Method
from lalora.methods.catalogue import METHODS, build
from lalora.methods.ewc_lora import EwcLora
from lalora.methods.lalora import LaLoRA
from lalora.methods.lora import Lora
from lalora.methods.precision_groups import precision_groups

__all__ = ["METHODS", "EwcLora", "LaLoRA", "Lora", "Method", "build", "precision_groups"]
