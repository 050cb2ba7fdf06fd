"""Intruder dimensions (Shuttleworth et al., 2024, arXiv 2410.21228), taken away after training by PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from peft import PeftModel
from torch import nn
from typing_extensions import Doc

from lalora.adapter import linear_pairs, lora_layers, peft_model
from lalora.errors import LaloraError
from lalora.methods._base_weights import require_floating, require_plain
from lalora.methods.base import Method, Sources
from lalora.options import Share

_REDUCED = "intruders_reduced"


@dataclass(eq=False)
class Intruders(Method):
    """Trains as plain LoRA, and takes a share of what training put into new directions away from the result.

    A left singular vector among the ten largest of W + s·BA that has no cosine above ½ with any of W's is an
    intruder; PEFT finds them (`reduce_intruder_dimension`, its defaults) and brings the rest back to rank r.
    """

    name = "intruders"
    label = "Intruders removed"
    citation = "Shuttleworth et al., 2024"
    needs = "two SVDs of every adapted weight, once, after training; plain linear LoRA"
    quantised_base = False
    knob = "removed"
    grid = (0.25, 0.5, 1.0)

    untouched_base = True

    removed: Annotated[Share, Doc("Share of each intruder dimension that is removed; 0 is plain LoRA.")] = 0.25

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Refuse before training what could not be reduced after it."""
        adapted = peft_model(model)
        pairs = linear_pairs(adapted)
        require_plain(adapted, pairs, self.name)
        require_floating(adapted, pairs, self.name)
        try:
            import peft.tuners.lora.intruders  # ruff: ignore[unused-import]
        except ImportError as error:
            raise LaloraError("method 'intruders' needs peft 0.19 or newer: pip install -U peft") from error

    @torch.no_grad()
    def after_training(self, model: PeftModel) -> None:
        """Reduce the intruders."""
        if self.removed == 0:
            return
        from peft.tuners.lora.intruders import reduce_intruder_dimension

        adapter = model.active_adapters[0]
        reduce_intruder_dimension(  # type: ignore[no-untyped-call]
            model, adapter, _REDUCED, mitigation_lambda=1 - self.removed, logging_sink=None
        )
        for layer in lora_layers(model).values():
            for half in (layer.lora_A, layer.lora_B):
                reduced, kept = half[_REDUCED], half[adapter]
                assert isinstance(reduced, nn.Linear)
                assert isinstance(kept, nn.Linear)
                kept.weight.copy_(reduced.weight)
        model.set_adapter(adapter)
        model.delete_adapter(_REDUCED)
