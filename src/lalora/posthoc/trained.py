"""A trained adapter and what is fitted around it and around its base, each once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import peft_model
from lalora.curvature import Anchor, Factor, WeightDiagonal, WeightKfac
from lalora.errors import LaloraError
from lalora.fisher import Sources
from lalora.laplace import Laplace, fit
from lalora.softening import trained_anchors, without_change

Fit = Literal["target weight-kfac", "source weight-kfac", "target weight-diagonal", "source weight-diagonal"]
"""The target's around the trained adapter, the source's around the base."""
Earlier = Callable[[int], Mapping[str, Tensor]]
"""Finds the adapter's tensors after a step, as PEFT's files name them."""


class Trained:
    """A trained adapter with the text that it can be measured by.

    Attributes:
        model: The PEFT model.
        anchors: A, B and s of every layer that it changes.
        steps: Optimizer steps that it was trained for.
    """

    def __init__(
        self,
        model: nn.Module,
        target: Sources,
        source: Sources,
        *,
        laplace: Callable[[], Laplace] | None = None,
        earlier: Earlier | None = None,
        steps: int = 0,
        seed: int = 0,
    ) -> None:
        """Look at the adapter; nothing is fitted yet.

        Args:
            model: A PEFT LoRA model as it was trained.
            target: Batches of what it was trained on.
            source: Batches of source text, by dataset.
            laplace: Finds a `weight-kfac` Laplace of the base from source text; None to fit one.
            earlier: Finds the adapter after an earlier step; None where none was kept.
            steps: Optimizer steps that it was trained for.
            seed: Of the sampled labels.

        Raises:
            LaloraError: If the adapter is not plain linear LoRA, changes nothing or is not finite.
        """
        self.model: PeftModel = peft_model(model)
        self.anchors: Mapping[str, Anchor] = trained_anchors(self.model)
        self.steps = steps
        self._text = {"target": target, "source": source}
        self._laplace, self._earlier, self._seed = laplace, earlier, seed
        self._fits: dict[Fit, Laplace] = {}

    def fit(self, name: Fit) -> Laplace:
        """Fit a curvature, once.

        Args:
            name: Of which text, around what, and of which shape.

        Returns:
            The fit.
        """
        if name not in self._fits:
            self._fits[name] = self._fitted(name)
        return self._fits[name]

    def kfac(self, side: Literal["target", "source"]) -> WeightKfac:
        """Look up the Kronecker factors of a side."""
        found = self.fit("target weight-kfac" if side == "target" else "source weight-kfac").curvature
        if not isinstance(found, WeightKfac):
            raise LaloraError("the Laplace of the base is no 'weight-kfac' (with combine='mean'): fit it anew")
        return found

    def diagonal(self, side: Literal["target", "source"]) -> WeightDiagonal:
        """Look up the squared gradients of a side."""
        found = self.fit("target weight-diagonal" if side == "target" else "source weight-diagonal").curvature
        assert isinstance(found, WeightDiagonal)
        return found

    @cached_property
    def changes(self) -> Mapping[str, Float[Tensor, "d_out d_in"]]:
        """ΔW₁ = s·BA of every layer that is changed."""
        return {name: change_of(anchor) for name, anchor in self.anchors.items()}

    def near(self, factor: Factor, dtype: torch.dtype = torch.float32) -> Factor:
        """Copy a factor to where the model is, to compute with it there."""
        return factor.to(next(self.model.parameters()).device, dtype)

    def at_step(self, step: int) -> Mapping[str, Tensor]:
        """Find the adapter's tensors after an earlier step."""
        if self._earlier is None:
            raise LaloraError("rewinding takes adapters that were kept while training, and none was")
        return self._earlier(step)

    def _fitted(self, name: Fit) -> Laplace:
        side, curvature = name.split(" ")
        if name == "source weight-kfac" and self._laplace is not None:
            return self._laplace()
        if side == "target":
            return fit(self.model, self._text[side], curvature=curvature, seed=self._seed, progress=False)
        with without_change(self.model):
            return fit(self.model, self._text[side], curvature=curvature, seed=self._seed, progress=False)


def change_of(anchor: Anchor) -> Float[Tensor, "d_out d_in"]:
    """Form s·BA."""
    assert anchor.a is not None and anchor.b is not None  # a layer whose change is zero has no place here
    product: Tensor = anchor.b.float() @ anchor.a.float()
    return product * anchor.scale
