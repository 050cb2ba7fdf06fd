"""The Laplace of a base model meets an adapter."""

from __future__ import annotations

import warnings

from peft import PeftModel

from lalora.adapter import base_model
from lalora.curvature import Curvature, Sum, WeightSpace
from lalora.laplace._anchors import anchors_of, tell_of_free
from lalora.laplace._provenance import Provenance, for_adapter


def beside(curvature: Curvature, provenance: Provenance, model: PeftModel) -> tuple[Curvature, Provenance]:
    """Put what is known of a base model beside an adapter on it, as the adapter is now.

    Args:
        curvature: In weight space, not attached.
        provenance: Of the fit on the base model.
        model: A PEFT LoRA model.

    Returns:
        The curvature beside the adapter's layers; the provenance with its settings.

    Raises:
        LaloraError: If the base model is another, or the adapter changes layers of which nothing is known.
    """
    assert isinstance(curvature, WeightSpace | Sum)
    anchors = anchors_of(model, provenance.curvature)
    # A head that the adapter trains besides is no layer that the fit could have known.
    heads = [name for name in anchors if name not in provenance.fingerprint["layers"] and _is_head(model, name)]
    if heads and len(heads) < len(anchors):
        tell_of_free(heads)
        anchors = {name: anchor for name, anchor in anchors.items() if name not in heads}
    attached = curvature.attached(anchors)
    narrowed = for_adapter(provenance, model)
    if any(anchor.changes for anchor in anchors.values()):
        warnings.warn(
            "the adapter already changes the base model where this Laplace first meets it: what it charges for is "
            "measured from here. Let it meet the adapter before training, or attach() it then and save that",
            stacklevel=2,
        )
    return attached, narrowed


def _is_head(model: PeftModel, layer: str) -> bool:
    return model.get_submodule(layer) is base_model(model).get_output_embeddings()  # type: ignore[operator]
