"""The Laplace of a base model gets the start of an adapter."""

from __future__ import annotations

from dataclasses import replace

from peft import PeftModel

from lalora.adapter import base_model
from lalora.curvature import Curvature, Sum, WeightSpace
from lalora.errors import warn
from lalora.laplace._anchors import anchors_of, tell_of_free
from lalora.laplace._lora_settings import lora_settings
from lalora.laplace._provenance import Provenance
from lalora.laplace._same_base import require_same_base
from lalora.laplace._same_model import fingerprint_of


def anchored(curvature: Curvature, provenance: Provenance, model: PeftModel) -> tuple[Curvature, Provenance]:
    """Anchor a curvature of a base model at an adapter as it is now; narrow the provenance to that adapter."""
    assert isinstance(curvature, WeightSpace | Sum)
    anchors = anchors_of(model, provenance.fit.curvature)
    # A head that the adapter trains besides is no layer that the fit could have known.
    heads = [name for name in anchors if name not in provenance.fingerprint["layers"] and _is_head(model, name)]
    if heads and len(heads) < len(anchors):
        tell_of_free(heads)
        anchors = {name: anchor for name, anchor in anchors.items() if name not in heads}
    beside = curvature.anchored(anchors)
    narrowed = _narrowed(provenance, model)
    if any(anchor.changes for anchor in anchors.values()):
        warn(
            "the adapter already changes the base model where this Laplace first meets it: its penalty is measured "
            "from here. Let it meet the adapter before training, or call anchored() then and save that",
        )
    return beside, narrowed


def _narrowed(provenance: Provenance, model: PeftModel) -> Provenance:
    # The adapter may change fewer layers than the base's Laplace knows.
    found, expected = fingerprint_of(model), provenance.fingerprint
    shared = {name: summary for name, summary in expected["layers"].items() if name in found["layers"]}
    narrowed = {**expected, "layers": shared}
    require_same_base(narrowed, found, provenance.base_model)
    return replace(provenance, fingerprint=narrowed, lora=lora_settings(model))


def _is_head(model: PeftModel, layer: str) -> bool:
    return model.get_submodule(layer) is base_model(model).get_output_embeddings()  # type: ignore[operator]
