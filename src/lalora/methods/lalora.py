"""LaLoRA (Sliwa et al., 2025): a Laplace penalty over the adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from lalora.fisher import Batch
from lalora.laplace import Laplace, Refitting, fit, require_non_negative
from lalora.methods.base import Method


class LaLoRA(Method):
    """Target loss + λ·½ΔᵀΛΔ, with Λ fitted on proxy batches at the start (paper, Eq. 12)."""

    name = "lalora"
    label = "LaLoRA"
    citation = "Sliwa et al., 2025"
    needs = "a fit on source text; the curvature in memory"
    knob = "strength"
    grid = (1000.0, 10000.0, 100000.0)
    needs_source = True

    def __init__(
        self,
        strength: float = 1.0,
        *,
        curvature: str = "diagonal",
        fisher: str | None = None,
        factor_rank: int | None = None,
        factor_keep: float | None = None,
        prior: float | str = 0.0,
        labels: str = "sampled",
        combine: str = "mean",
        seed: int = 0,
        refit_every: int | None = None,
        refit_decay: float = 0.9,
        laplace: Laplace | None = None,
    ) -> None:
        """Choose the strength and how the curvature is fitted.

        Args:
            strength: λ ≥ 0.
            curvature: As in `lalora.fit`.
            fisher: As in `lalora.fit`.
            factor_rank: `rank` in `lalora.fit`.
            factor_keep: `keep` in `lalora.fit`.
            prior: As in `lalora.fit`.
            labels: As in `lalora.fit`.
            combine: As in `lalora.fit`.
            seed: As in `lalora.fit`.
            refit_every: Optimizer steps after which the curvature is fitted again and averaged in; None for never.
            refit_decay: Weight of what was known before.
            laplace: One that is fitted already; `prepare` then only checks it.

        Raises:
            LaloraError: If the strength is negative or not finite.
        """
        require_non_negative("strength", strength)
        self.strength = strength
        self.laplace = laplace
        self._again = (refit_every, refit_decay)
        self._refitting = Refitting(None, {}, refit_decay)
        self._options = {
            "curvature": curvature,
            "fisher": fisher,
            "factor_rank": factor_rank,
            "factor_keep": factor_keep,
            "prior": prior,
            "labels": labels,
            "combine": combine,
            "seed": seed,
        }

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Fit the curvature, or check the one that was given.

        Args:
            model: The PEFT model at its start.
            proxies: Batches of surrogate source text by dataset.
        """
        if self.laplace is None:
            self.laplace = fit(model, proxies, **self._options)  # type: ignore[arg-type]
        else:
            self.laplace.check(model)
        every, decay = self._again
        self._refitting = Refitting.of(every, proxies, decay)

    def begin_step(self, model: nn.Module, step: int) -> None:
        """Fit again if it is time.

        Args:
            model: The PEFT model.
            step: Optimizer steps done so far.
        """
        if self.laplace is not None:
            self.laplace = self._refitting.due(self.laplace, model, step)

    def after_backward(self, model: nn.Module, loss_scale: float) -> None:
        """Add λΛΔ to the gradients.

        Args:
            model: The PEFT model.
            loss_scale: Factor that the gradients carry.
        """
        if self.laplace is not None:
            self.laplace.add_gradient(model, self.strength, loss_scale)

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure penalty and forecast.

        Args:
            model: The PEFT model.

        Returns:
            `penalty` in nats, `forecast` in nats per source token.
        """
        if self.laplace is None:
            return {}
        penalty = self.laplace.penalty(model, self.strength)
        return {"penalty": float(penalty.detach()), "forecast": self.laplace.forecast(model)}

    def save(self, checkpoint: Path) -> None:
        """Keep a curvature that changes beside a checkpoint.

        Args:
            checkpoint: Its folder.
        """
        if self.laplace is not None:
            self._refitting.save(self.laplace, checkpoint)

    def load(self, checkpoint: Path) -> None:
        """Read what `save` kept.

        Args:
            checkpoint: Its folder.
        """
        if self.laplace is not None:
            self.laplace = self._refitting.load(self.laplace, checkpoint)
