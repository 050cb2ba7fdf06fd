"""Whether a model with its adapter switched off is the base model."""

from __future__ import annotations

from peft import PeftModel

from lalora.adapter import HOLDERS

# Starts of PEFT that leave the base weights as they are; the others put what they move into the adapter's place there.
_LEAVE_THE_BASE = (True, False, None, "gaussian", "eva", "orthogonal", "mica")


def why_not_base(model: PeftModel) -> str | None:
    """Say why switching the adapter off does not give the base model; None where it does."""
    # An adapter that is not active has changed the base weights all the same.
    for config in model.peft_config.values():
        start = getattr(config, "init_lora_weights", True)
        if start not in _LEAVE_THE_BASE:
            return f"init_lora_weights={start!r} rewrote its base weights"
        bias = getattr(config, "bias", "none")
        if bias != "none":
            return f"bias={bias!r} trains its biases in place"
        if getattr(config, "layer_replication", None):
            return "layer_replication repeats its layers"
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not any(holder in name for holder in HOLDERS):
            return f"'{name}' is trained in place"
    return None
