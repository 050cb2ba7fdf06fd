"""LaLoRA (Sliwa et al., 2025): a Laplace penalty over the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn
from typing_extensions import Doc

from lalora import processes
from lalora.curvature import FITTED
from lalora.engines import FSDP2, ZERO, gradients, total_norm
from lalora.errors import LaloraError, warn
from lalora.fisher import own_part
from lalora.laplace import FitSettings, Laplace, Refitting, fit
from lalora.methods.base import Method, Sources
from lalora.options import BelowOne, Count, NonNegative, Option

_OF_THE_FIT = tuple(field.name for field in fields(FitSettings))
T = TypeVar("T", bound="LaLoRA")
ENOUGH_STEPS = 20
"""Before which a penalty need not be felt: at the start its gradient is zero."""
ENOUGH = 0.1
"""Of that norm, what a penalty should have to be felt."""
FELT = 0.03
"""Of the norm of the rest of the gradient, what the penalty's has to be at some step to change anything."""


def _takes_options_of_the_fit(kind: type[T]) -> type[T]:
    """Let `LaLoRA(curvature="kfac")` stand for `LaLoRA(fit=FitSettings(curvature="kfac"))`."""
    init: Any = kind.__init__

    @wraps(init)
    def take(self: T, *values: Any, **options: Any) -> None:
        own = {name: options.pop(name) for name in _OF_THE_FIT if name in options}
        for name, value in self.fixed.items():
            if own.get(name, value) != value:
                raise LaloraError(f"method '{self.name}' has no '{name}'")
        if own and "fit" in options:
            raise LaloraError(f"'{next(iter(own))}' is one of the options in 'fit': give one of the two")
        given = {} if "fit" in options else {"fit": FitSettings(**self.fixed, **own)}
        init(self, *values, **options, **given)

    kind.__init__ = take  # type: ignore[method-assign, assignment]
    return kind


@_takes_options_of_the_fit
@dataclass(eq=False)
class LaLoRA(Method):
    """Target loss + λ·½ΔᵀΛΔ, with Λ fitted on source batches at the start (paper, Eq. 12).

    The options of the fit can be given by their own names: `LaLoRA(30, curvature="weight-kfac")`. With `laplace`, one
    that is fitted already, `prepare` only checks it.
    """

    name = "lalora"
    label = "LaLoRA"
    citation = "Sliwa et al., 2025"
    needs = "a fit on source text; the curvature in memory"
    knob = "strength"
    grid = (10.0, 30.0, 100.0)
    needs_source = True
    engines = (FSDP2, ZERO)
    fixed: ClassVar[Mapping[str, Any]] = {}
    """Options of the fit that cannot be chosen."""

    strength: Annotated[
        NonNegative | Literal["auto"],
        Doc("λ: nats of target loss paid per nat of predicted drift. auto: what was measured for the curvature."),
    ] = "auto"
    fit: FitSettings = field(default_factory=FitSettings)
    prior: Annotated[
        NonNegative | Literal["auto"],
        Doc("Precision δ that is penalised besides the curvature. auto: the curvature's mean eigenvalue."),
    ] = 0.0
    refit_every: Annotated[
        Count | None,
        Doc("Optimizer steps after which the curvature is fitted again and averaged in. None: never."),
    ] = None
    refit_decay: Annotated[BelowOne, Doc("Weight of what was known when it is fitted again.")] = 0.9
    laplace: Laplace | None = field(default=None, repr=False, compare=False)

    if TYPE_CHECKING:

        def __init__(self, strength: float | Literal["auto"] = "auto", **options: Any) -> None:
            """Take the fields, and the options of the fit by their own names."""

    def __post_init__(self) -> None:
        """Check every option, and know of no gradient yet."""
        super().__post_init__()
        if self.laplace is not None:
            self.fit, self.prior = self.laplace.provenance.fit, self.laplace.prior
        if self.strength == "auto":
            self.strength = FITTED[self.fit.curvature].strength
        self._refitting = Refitting(None, {}, self.refit_decay)
        self.target_norm: Tensor | None = None
        """Of the gradient of all else, before clipping, at the last step."""
        self.gradient_norm: Tensor | None = None
        self._felt: Tensor | None = None
        self.kept_elsewhere = False
        """Whether the Laplace that was given need not be in checkpoints."""

    @classmethod
    def options(cls) -> dict[str, Option]:
        """List what can be chosen, the options of the fit among them."""
        return {name: option for name, option in super().options().items() if name not in cls.fixed}

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Fit the curvature, each process on its part of the rows, or check the one that was given."""
        if self.laplace is None:
            parts = {name: own_part(list(batches)) for name, batches in sources.items()}
            self.laplace = fit(model, parts, prior=self.prior, **asdict(self.fit))
        else:
            self.laplace.check(model)
        self._refitting = Refitting.of(self.refit_every, sources, self.refit_decay)

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Fit again if it is time, and add λΛΔ to the gradients."""
        if self.laplace is not None:
            self.laplace = self._refitting.due(self.laplace, model, step)
            self.target_norm = total_norm(gradients(model.parameters())) / loss_scale
            self.gradient_norm = self.laplace.add_gradient(model, self.strength_now, loss_scale)
            if step >= ENOUGH_STEPS:
                share = self.gradient_norm.to(self.target_norm.device) / self.target_norm.clamp_min(1e-30)
                self._felt = torch.maximum(self._felt, share) if isinstance(self._felt, Tensor) else share

    def after_training(self, model: PeftModel) -> None:
        """Say so where the penalty was too weak to change anything."""
        strength = float(self.strength)
        if self._felt is not None and strength > 0 and (most := float(self._felt)) < FELT:
            louder = f"try about {strength * ENOUGH / most:.0e}" if most else "it was zero"
            warn(
                f"the penalty was not felt: its gradient was never more than {most:.1g} of the rest of the gradient, "
                f"with strength {strength:g}; {louder}"
            )

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure `penalty` in nats, and `forecast` in nats per source token."""
        if self.laplace is None:
            return {}
        with torch.no_grad():
            penalty = self.laplace.penalty(model, self.strength_now)
        return {"penalty": float(penalty), "forecast": self.laplace.forecast(model)}

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in, the Laplace included."""
        if self.laplace is None:
            return super().facts()
        tensors = [*self.laplace.mean.values(), *self.laplace.curvature.tensors().values()]
        return super().facts() | {"prior": self.laplace.prior, "Laplace": processes.digest(tensors)}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Keep the Laplace of the model's adapter; one of a base model as it met this adapter."""
        if self.laplace is not None and not self._found_again:
            self.laplace.of_adapter(model).save(folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Go on with the Laplace of the checkpoint: a new fit on a new random A is another one than its run's."""
        if self._found_again:
            return
        kept = Laplace.load(folder)
        kept.check(model)
        if self.laplace is not None:
            ours, theirs = self.laplace.provenance.fit.curvature, kept.provenance.fit.curvature
            if ours != theirs:
                raise LaloraError(
                    f"{folder.parent} was trained with curvature '{theirs}', not '{ours}': give the same to resume"
                )
        self.laplace = kept

    @property
    def _found_again(self) -> bool:
        return self.kept_elsewhere and self.refit_every is None
