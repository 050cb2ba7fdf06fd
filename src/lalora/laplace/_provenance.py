"""Where a Laplace comes from: enough to refuse a wrong model and to tell a reader what was done."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lalora.adapter import base_name, base_revision, has_adapter
from lalora.fisher import Dataset
from lalora.laplace._lora_settings import lora_settings
from lalora.laplace._same_base import Fingerprint
from lalora.laplace._settings import FitSettings
from lalora.version import __version__


@dataclass(frozen=True)
class Provenance:
    """Everything a file says about how it was made.

    Attributes:
        lalora: Version of lalora.
        base_model: Id of the base model; the folder's name for a local one.
        fingerprint: Configuration, norms and projections of the adapted base weights.
        lora: The LoRA settings that matter; none where the fit was on a bare base model.
        fit: How it was fitted; the last of several tasks.
        tasks: Number of tasks whose curvatures were added up.
        datasets: The source datasets, of all tasks.
        created: Date in UTC, ISO 8601.
        base_revision: Commit of the base model on the hub; None where it is not known.
    """

    lalora: str
    base_model: str
    fingerprint: Fingerprint
    lora: dict[str, Any]
    fit: FitSettings
    tasks: int
    datasets: tuple[Dataset, ...]
    created: str
    base_revision: str | None = None

    @classmethod
    def of(cls, model: nn.Module, base: Fingerprint, fit: FitSettings, datasets: tuple[Dataset, ...]) -> Provenance:
        """Write down how a Laplace of this model is made, today."""
        return cls(
            lalora=__version__,
            base_model=base_name(model),
            fingerprint=base,
            lora=lora_settings(model) if has_adapter(model) else {},
            fit=fit,
            tasks=1,
            datasets=datasets,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            base_revision=base_revision(model),
        )

    @property
    def calibrated(self) -> bool:
        """Whether ½ΔᵀΛΔ forecasts KL(base ‖ model) in nats per token."""
        fit = self.fit
        return fit.labels == "sampled" and fit.fisher != "batch" and fit.combine != "sum" and self.tasks == 1

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Provenance:
        """Rebuild what `as_json` returned."""
        datasets = tuple(Dataset(**dataset) for dataset in fields["datasets"])
        return cls(**{**fields, "datasets": datasets, "fit": FitSettings(**fields["fit"])})
