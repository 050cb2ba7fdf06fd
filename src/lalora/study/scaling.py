"""An adapter scaled down after training, ΔW → αΔW: a curve for each run at no training cost."""

from collections.abc import Generator
from contextlib import contextmanager

from peft import PeftModel

from lalora.adapter import lora_layers


@contextmanager
def scaled(model: PeftModel, alpha: float) -> Generator[None, None, None]:
    """Multiply s of every LoRA layer, and so ΔW = s·BA of a plain one.

    Args:
        model: A PEFT LoRA model.
        alpha: α; 0 is the base, 1 the adapter.

    Yields:
        Nothing; the model is scaled.
    """
    layers = lora_layers(model).values()
    before = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        layer.scale_layer(alpha)
    try:
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)
