"""Where a Laplace comes from: enough to refuse a wrong model and to tell a reader what was done."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from torch import nn

from lalora.adapter import base_config, has_adapter, lora_layers, peft_model
from lalora.errors import LaloraError
from lalora.laplace._fingerprint import Fingerprint, fingerprint, require_same_base
from lalora.version import __version__

# The settings of LoRA that change what a displacement of its tensors does to the model.
_LORA_SETTINGS = (
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "lora_bias",
    "target_parameters",
)


@dataclass(frozen=True)
class Dataset:
    """A source dataset as it was seen in stage I.

    Attributes:
        name: Its name.
        rows: Number of sequences.
        tokens: Number of completion tokens.
        batches: Number of mini-batches.
        sha256: Hash of the visible tokens and labels.
    """

    name: str
    rows: int
    tokens: int
    batches: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Everything a file says about how it was made.

    Attributes:
        lalora: Version of lalora.
        base_model: Id of the base model; the folder's name for a local one.
        fingerprint: Configuration, norms and projections of the adapted base weights.
        lora: The LoRA settings that matter; none where the fit was on a bare base model.
        curvature: Kind of curvature.
        fisher: Estimator.
        labels: `sampled` or `data`.
        combine: How datasets were combined; `tasks` where Laplaces of several tasks were added up.
        seed: Seed of the sampled labels.
        factor_rank: Most eigenvectors of a Kronecker factor that were kept; None for all.
        factor_keep: Share of the trace of each that was kept at least; None for all of it.
        datasets: The source datasets.
        created: Date in UTC, ISO 8601.
    """

    lalora: str
    base_model: str
    fingerprint: Fingerprint
    lora: dict[str, Any]
    curvature: str
    fisher: str
    labels: str
    combine: str
    seed: int
    factor_rank: int | None
    factor_keep: float | None
    datasets: tuple[Dataset, ...]
    created: str

    @property
    def calibrated(self) -> bool:
        """Whether ½ΔᵀΛΔ forecasts KL(base ‖ model) in nats per token."""
        return self.labels == "sampled" and self.fisher != "batch" and self.combine not in ("sum", "tasks")

    def as_json(self) -> dict[str, Any]:
        """Return a JSON-ready mapping.

        Returns:
            The fields by name.
        """
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Provenance:
        """Rebuild what `as_json` returned.

        Args:
            fields: The fields by name.

        Returns:
            The provenance.
        """
        datasets = tuple(Dataset(**dataset) for dataset in fields["datasets"])
        return cls(**{**fields, "datasets": datasets})


def describe(model: nn.Module, base: Fingerprint, datasets: tuple[Dataset, ...], **settings: Any) -> Provenance:
    """Write down how a Laplace is made.

    Args:
        model: The PEFT LoRA model, or the bare base model.
        base: Fingerprint of its base weights.
        datasets: What stage I saw.
        **settings: `curvature`, `fisher`, `labels`, `combine`, `seed`, `factor_rank` and `factor_keep`.

    Returns:
        The provenance, dated today.
    """
    return Provenance(
        lalora=__version__,
        base_model=base_name(model),
        fingerprint=base,
        lora=lora_settings(model) if has_adapter(model) else {},
        datasets=datasets,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **settings,
    )


def require_same_model(provenance: Provenance, model: nn.Module) -> None:
    """Refuse a model whose base or LoRA settings differ from those of the fit.

    Args:
        provenance: Of a Laplace that was fitted on an adapter.
        model: The model at hand.

    Raises:
        LaloraError: If they differ; the message names the first setting that does.
    """
    found = lora_settings(model)
    for key, value in provenance.lora.items():
        if found.get(key) != value:
            raise LaloraError(
                f"this Laplace was fitted with LoRA {key}={value!r}, and the adapter here has {key}={found[key]!r}"
            )
    require_same_base(provenance.fingerprint, _fingerprint(model), provenance.base_model)


def for_adapter(provenance: Provenance, model: nn.Module) -> Provenance:
    """Write down which adapter a Laplace of a base model was put beside.

    Args:
        provenance: Of a Laplace that was fitted on a bare base model.
        model: A PEFT LoRA model, which may adapt fewer layers.

    Returns:
        The provenance with the adapter's settings and layers.

    Raises:
        LaloraError: If the base models differ.
    """
    found, expected = _fingerprint(model), provenance.fingerprint
    shared = {name: summary for name, summary in expected["layers"].items() if name in found["layers"]}
    narrowed = {**expected, "layers": shared}
    require_same_base(narrowed, found, provenance.base_model)
    return replace(provenance, fingerprint=narrowed, lora=lora_settings(model))


def _fingerprint(model: nn.Module) -> Fingerprint:
    bare = peft_model(model)
    return fingerprint(bare, adapted_layers(bare))


def adapted_layers(model: PeftModel) -> dict[str, nn.Module]:
    """List the adapted modules as modules.

    Args:
        model: A PEFT LoRA model.

    Returns:
        Every LoRA layer by its name.
    """
    return {name: cast("nn.Module", layer) for name, layer in lora_layers(model).items()}


def lora_settings(model: nn.Module) -> dict[str, Any]:
    """Read the LoRA settings that matter.

    Args:
        model: A PEFT LoRA model.

    Returns:
        A JSON-ready mapping.
    """
    bare = peft_model(model)
    settings = bare.peft_config[bare.active_adapters[0]].to_dict()
    chosen = {key: settings.get(key) for key in _LORA_SETTINGS}
    return {key: sorted(value) if isinstance(value, set) else value for key, value in chosen.items()}


def base_name(model: nn.Module) -> str:
    """Name the base model without telling where it lies on this machine.

    Args:
        model: A PEFT LoRA model, or a base model.

    Returns:
        A hub id, or the name of a local folder.
    """
    name = str(base_config(model).name_or_path or "unnamed")
    return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name


def require_fitted_on(provenance: Provenance, base: nn.Module) -> None:
    """Refuse a base model without an adapter that is not the one of a fit.

    Args:
        provenance: Of the fit.
        base: The model at hand.

    Raises:
        LaloraError: If it lacks a layer of the fit, or its weights are others.
    """
    expected = provenance.fingerprint
    modules = dict(base.named_modules())
    layers = {}
    for name in expected["layers"]:
        module = modules.get(name.removeprefix("base_model.model."))
        if module is None:
            raise LaloraError(
                f"this Laplace was fitted on '{provenance.base_model}', and the model here has no module '{name}'"
            )
        layers[name] = module
    require_same_base(expected, fingerprint(base, layers), provenance.base_model)
