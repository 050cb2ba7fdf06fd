"""Where a fit begins: the layers that are looked at, and where the adapter stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lalora.adapter import has_adapter, lora_layers, peft_model
from lalora.curvature import FITTED, Anchor, Fitted, WeightSpace
from lalora.errors import LaloraError, first_of, warn
from lalora.laplace._adapter_copy import mean_and_shapes
from lalora.laplace._anchors import anchors_of, target_layers
from lalora.laplace._same_base import Fingerprint, fingerprint
from lalora.laplace._same_model import adapted_layers


@dataclass(frozen=True)
class Start:
    """A model before its fit.

    Attributes:
        model: A PEFT LoRA model, or a bare base model.
        layers: The layers that are looked at, by name.
        anchors: Where they start; None for a base model, empty for a curvature that does not ask.
        base: Fingerprint of the base weights.
    """

    model: nn.Module
    layers: Mapping[str, nn.Module]
    anchors: Mapping[str, Anchor] | None
    base: Fingerprint

    @classmethod
    def of_adapter(cls, model: nn.Module, kind: type[Fitted]) -> Start:
        """Look at the layers of an adapter."""
        if issubclass(kind, WeightSpace) and not has_adapter(model):
            raise LaloraError(
                f"{type(model).__name__} has no LoRA adapter: wrap it with peft.get_peft_model, or give target_modules "
                "for a Laplace of the base model"
            )
        bare = peft_model(model)
        if any(layer.merged for layer in lora_layers(bare).values()):
            raise LaloraError("the adapter is merged into the base weights: call unmerge_adapter() before fitting")
        layers = adapted_layers(bare)
        anchors = {} if kind.statistic == "adapter squares" else anchors_of(bare, kind.kind)
        layers = {name: layers[name] for name in anchors} if anchors else layers
        return cls(model, layers, anchors, fingerprint(model, layers))

    @classmethod
    def of_base(cls, model: nn.Module, kind: type[Fitted], target_modules: str | Sequence[str]) -> Start:
        """Look at the layers of a base model that an adapter with these `target_modules` would have."""
        if has_adapter(model):
            raise LaloraError("target_modules is for a base model without an adapter: leave it out, this one has one")
        if not issubclass(kind, WeightSpace):
            able = " or ".join(f"'{name}'" for name, other in FITTED.items() if issubclass(other, WeightSpace))
            raise LaloraError(
                f"curvature='{kind.kind}' needs an adapter: wrap the model with peft.get_peft_model, or choose {able} "
                "for a Laplace of the base model"
            )
        layers = target_layers(model, target_modules, kind.kind)
        return cls(model, layers, None, fingerprint(model, layers))

    def mean_and_shapes(self) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
        """Copy the adapter; there is none of a base model."""
        return ({}, {}) if self.anchors is None else mean_and_shapes(self.model)

    def unreached(self, reached: Collection[str], source: str) -> list[str]:
        """Name the layers that no row of a source reaches; an adapter must be reached everywhere.

        A fit of the base model serves the layers that it can, such as the experts that were chosen.
        """
        wanted = self.layers if self.anchors is None else self.anchors
        left = sorted(set(wanted) - set(reached))
        if self.anchors is not None and len(left) == len(wanted) > 0:
            raise LaloraError(
                f"no row of source '{source}' reaches module '{left[0]}', nor any other of the adapter: leave them out "
                "of it; or, if fused kernels go past the modules (Unsloth, axolotl), fit on the plain PEFT model first"
            )
        if left and (self.anchors is not None or len(left) == len(self.layers)):
            raise LaloraError(f"no row of source '{source}' reaches module '{left[0]}': leave it out of the adapter")
        return left

    def without(self, unreached: Mapping[str, list[str]]) -> Fingerprint:
        """Leave out of the fingerprint the layers that no source reaches, with a warning; all must reach the same."""
        first, *others = unreached
        for other in others:
            for here, there in ((first, other), (other, first)):
                if only := sorted(set(unreached[here]) - set(unreached[there])):
                    raise LaloraError(
                        f"source '{there}' reaches module '{only[0]}' and source '{here}' does not: leave it out of "
                        "target_modules, or give rows that reach it"
                    )
        names = unreached[first]
        if not names:
            return self.base
        warn(
            f"no row reaches {first_of(names)}: this Laplace knows nothing of them and serves no adapter on them",
        )
        known = {name: summary for name, summary in self.base["layers"].items() if name not in names}
        return {**self.base, "layers": known}
