"""EWC-LoRA: elastic weight consolidation (Kirkpatrick et al., 2017) over what the adapter does to the weights."""

from __future__ import annotations

from lalora.curvature import WeightDiagonal
from lalora.laplace import Laplace
from lalora.methods.lalora import LaLoRA


class EwcLora(LaLoRA):
    """LaLoRA with `weight-diagonal`: target loss + λ·½ΣF∘ΔW², F the diagonal Fisher of the merged weights."""

    name = "ewc-lora"
    label = "EWC-LoRA"
    citation = "Kirkpatrick et al., 2017"
    needs = "a fit on source text; as much memory as the adapted weights"
    grid = (100.0, 1000.0, 10000.0)

    def __init__(
        self,
        strength: float = 1.0,
        *,
        fisher: str | None = None,
        prior: float | str = 0.0,
        labels: str = "sampled",
        combine: str = "mean",
        seed: int = 0,
        laplace: Laplace | None = None,
    ) -> None:
        """Choose the strength and how F is fitted.

        Args:
            strength: λ ≥ 0.
            fisher: As in `lalora.fit`.
            prior: As in `lalora.fit`.
            labels: As in `lalora.fit`.
            combine: As in `lalora.fit`.
            seed: As in `lalora.fit`.
            laplace: One that is fitted already; `prepare` then only checks it.

        Raises:
            LaloraError: If the strength is negative or not finite.
        """
        super().__init__(
            strength,
            curvature=WeightDiagonal.kind,
            fisher=fisher,
            prior=prior,
            labels=labels,
            combine=combine,
            seed=seed,
            laplace=laplace,
        )
