"""All trade-offs of one trained adapter between its target and its source."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lalora.adapter import peft_model
from lalora.batches import Batch
from lalora.errors import LaloraError
from lalora.files import whole_folder
from lalora.fisher import Sources
from lalora.laplace import require_non_negative
from lalora.softening._budget import Choice, within
from lalora.softening._carrier import Carrier
from lalora.softening._layers import Layer
from lalora.softening._measured import HeldOut, Measured
from lalora.softening._whole import WholeLayer
from lalora.undisturbed import trainability_kept


@dataclass(frozen=True)
class Prediction:
    """What the two quadratics say of the adapter at one strength. Both are far below what rows of another text measure.

    Attributes:
        strength: λ.
        source: KL(base ‖ model) on source text, nats per token.
        target: KL(start ‖ model) on target text, nats per token.
    """

    strength: float
    source: float
    target: float


class Front:
    """Softened versions of one adapter, at any strength; the adapter itself stays as it was trained.

    Attributes:
        strengths: Those that were asked for.
        scale: α at which the front begins: λ = 0 is the adapter times this.
    """

    def __init__(
        self,
        carrier: Carrier,
        layers: Mapping[str, Layer] | Mapping[str, WholeLayer],
        strengths: Sequence[float],
        scale: float = 1.0,
        fitted: Collection[str] = (),
    ) -> None:
        """Keep the decomposition; `soften` makes it.

        Args:
            carrier: Of the trained change.
            layers: Decomposed layers by name.
            strengths: λ of the predictions.
            scale: α at which it begins.
            fitted: Digests of the rows and datasets that were fitted, which no measurement may use.
        """
        self._carrier = carrier
        self._layers: dict[str, Any] = dict(layers)
        self._fitted = frozenset(fitted)
        self._last: tuple[float | None, dict[str, Any]] = None, {}
        self.strengths = tuple(strengths)
        self.scale = scale

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are softened."""
        return tuple(self._layers)

    @property
    def predictions(self) -> list[Prediction]:
        """What is predicted at each strength."""
        return [self.predict(strength) for strength in self.strengths]

    def predict(self, strength: float) -> Prediction:
        """Predict both sides at a strength.

        Args:
            strength: λ ≥ 0; 0 is the adapter at the front's scale.

        Returns:
            The prediction.

        Raises:
            LaloraError: If the strength is negative or not finite.
        """
        softened = self._at(strength)
        source = sum(layer.drift() for layer in softened.values())
        return Prediction(strength, source, sum(layer.distance(self._layers[name]) for name, layer in softened.items()))

    def measure(self, strength: float, held_out: HeldOut) -> Measured:
        """Measure the softened adapter on held-out rows.

        Args:
            strength: λ ≥ 0.
            held_out: Rows that no fit saw, of the model that was softened.

        Returns:
            Target loss and drift.

        Raises:
            LaloraError: If the strength is negative or not finite, or rows of it were fitted on.
        """
        held_out.require_unseen(self._fitted)
        with self._carrier.unchanged(held_out.model):
            self.apply(held_out.model, strength)
            return held_out.measure()

    def within(
        self,
        *,
        drift: float | None = None,
        floor: float | None = None,
        batches: Sources | Iterable[Batch] | None = None,
        target: Iterable[Batch] | None = None,
        base: nn.Module | None = None,
    ) -> Choice:
        """Find the strength that fits a budget by measuring on rows that no fit saw.

        With `drift`: the version that learned most among those whose measured KL(base ‖ model), averaged over sources,
        is at most so large. With `floor`: the one that drifted least among those that give up at most so much target
        loss against λ = 0.

        Args:
            drift: Budget in nats per token, above 0.
            floor: Budget in nats per token, above 0.
            batches: Held-out source rows, as in `lalora.fit`; needed for `drift`.
            target: Held-out target rows; needed for `floor`.
            base: The base model, where switching the adapter off does not give it.

        Returns:
            The strength, what was measured there, and whether it fits.

        Raises:
            LaloraError: If not exactly one budget is given, it is not above zero, its rows are missing, or rows were
                fitted on.
        """
        if drift is not None and batches is None:
            raise LaloraError("a budget of drift is measured: give batches of source rows that no fit saw")
        if floor is not None and target is None:
            raise LaloraError("a floor is measured: give target rows that no fit saw")
        held_out = HeldOut(self._carrier.model, batches, target, base)
        return within(lambda strength: self.measure(strength, held_out), drift, floor)

    def apply(self, model: nn.Module, strength: float = 1.0) -> None:
        """Set the active adapter of a model to its softened version.

        Args:
            model: The PEFT model that was softened, or one with an adapter of the same layers and ranks.
            strength: λ ≥ 0; 0 is the adapter at the front's scale.

        Raises:
            LaloraError: If the strength is negative or not finite, or the model has no such adapter.
        """
        self._carrier.put(model, {name: layer.change() for name, layer in self._at(strength).items()})

    def scaled(self, alpha: float) -> AbstractContextManager[None]:
        """Multiply the trained change, for comparison.

        Args:
            alpha: α; 0 is the base, 1 the model as it was trained.

        Returns:
            A context in which the model that was softened is scaled.
        """
        return self._carrier.scaled(alpha)

    def add_adapter(self, model: nn.Module, name: str, strength: float = 1.0) -> None:
        """Add a softened version beside the active adapter, which stays active.

        Args:
            model: The PEFT model that was softened.
            name: What to call it.
            strength: λ ≥ 0.

        Raises:
            LaloraError: As `apply`; or if the model has an adapter of that name.
        """
        require_non_negative("strength", strength)
        bare = peft_model(model)
        active = bare.active_adapters[0]
        if name in bare.peft_config:
            raise LaloraError(f"the model has an adapter '{name}' already: choose another name")
        with trainability_kept(bare):
            bare.add_adapter(name, copy.deepcopy(bare.peft_config[active]))
            bare.set_adapter(name)
            try:
                self.apply(bare, strength)
            finally:
                bare.set_adapter(active)

    def save(self, folder: str | Path, strength: float = 1.0) -> None:
        """Save a softened version in PEFT's format, with the rank and the settings of the adapter.

        Args:
            folder: Where to; it must not exist, or be empty.
            strength: λ ≥ 0.

        Raises:
            LaloraError: As `apply`; or if the folder holds something.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise LaloraError(f"{path} is there already: choose another folder")
        with self._carrier.unchanged(self._carrier.model), whole_folder(path) as partial:
            self.apply(self._carrier.model, strength)
            self._carrier.save(partial)

    def _at(self, strength: float) -> dict[str, Any]:
        require_non_negative("strength", strength)
        # One strength is often applied, measured on several texts and predicted in turn.
        if self._last[0] != strength:
            self._last = strength, {name: layer.at(strength) for name, layer in self._layers.items()}
        return self._last[1]
