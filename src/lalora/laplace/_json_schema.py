"""What may stand in `laplace.json`, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from lalora.errors import LaloraError
from lalora.laplace._field_types import Count, Digest, Name, Number, Size, Strict
from lalora.laplace._lora_settings import LoraSettings
from lalora.laplace._same_base import PROJECTIONS
from lalora.laplace._settings import FitSettings


def _fit_settings(given: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(FitSettings)}
    if given.keys() != known:
        raise ValueError(f"must hold {', '.join(sorted(known))} and nothing else")
    if given["fisher"] is None:
        raise ValueError("must name an estimator in 'fisher'")
    try:
        FitSettings(**given)
    except LaloraError as error:
        raise ValueError(str(error)) from error
    return given


class _Dataset(Strict):
    name: Name
    rows: Count
    tokens: Count
    batches: Count
    sha256: Digest


class _Fingerprint(Strict):
    config: dict[Name, Name | Annotated[int, Field(ge=-(2**63), lt=2**63)]]
    layers: dict[Name, Annotated[list[Number], Field(min_length=1 + PROJECTIONS, max_length=1 + PROJECTIONS)]]
    rounded: bool = False


class _Nothing(Strict):
    """The settings of no adapter."""


class _Provenance(Strict):
    lalora: Name
    base_model: Name
    fingerprint: _Fingerprint
    lora: LoraSettings | _Nothing
    fit: Annotated[dict[Name, Any], AfterValidator(_fit_settings)]
    tasks: Annotated[int, Field(ge=1, le=1000)]
    datasets: list[_Dataset]
    created: Name
    base_revision: Name | None = None


class _Description(Strict):
    format: Literal[1]
    kind: Name
    prior: Annotated[float, Field(ge=0, le=1e15)]
    shapes: dict[Name, Annotated[list[Size], Field(min_length=1, max_length=6)]]
    provenance: _Provenance
    tensors: Annotated[str, Field(pattern=r"^laplace-[0-9a-f]{8}\.safetensors$")]
    tensors_sha256: Digest


def require_description(body: Mapping[str, Any]) -> None:
    """Refuse a description with a field that is missing, too many, of another type or out of range, by its name."""
    try:
        _Description.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise LaloraError(f"field '{field[:200]}': {first['msg']}") from error
