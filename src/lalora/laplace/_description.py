"""What may stand in `laplace.json`, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lalora.errors import LaloraError
from lalora.laplace._fingerprint import PROJECTIONS


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must hold no control characters")
    return text


Name = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Rank = Annotated[int, Field(ge=1, le=2**20)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Size = Annotated[int, Field(ge=1, le=2**40)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Dataset(_Strict):
    name: Name
    rows: Count
    tokens: Count
    batches: Count
    sha256: Digest


class _Fingerprint(_Strict):
    config: dict[Name, Name | Annotated[int, Field(ge=-(2**63), lt=2**63)]]
    layers: dict[Name, Annotated[list[Number], Field(min_length=1 + PROJECTIONS, max_length=1 + PROJECTIONS)]]


class _Lora(_Strict):
    r: Rank
    lora_alpha: Number
    use_rslora: bool
    use_dora: bool
    rank_pattern: dict[Name, Rank] | None
    alpha_pattern: dict[Name, Number] | None
    bias: Literal["none", "all", "lora_only"]
    lora_bias: bool | None
    target_parameters: list[Name] | None = None


class _Nothing(_Strict):
    """The settings of no adapter."""


class _Provenance(_Strict):
    lalora: Name
    base_model: Name
    fingerprint: _Fingerprint
    lora: _Lora | _Nothing
    curvature: Literal["diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal"]
    fisher: Literal["sequence", "token", "batch"]
    labels: Literal["sampled", "data"]
    combine: Literal["mean", "sum", "separate", "tasks"]
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    factor_rank: Annotated[int, Field(ge=1, lt=2**63)] | None
    factor_keep: Annotated[float, Field(gt=0, le=1)] | None
    datasets: list[_Dataset]
    created: Name


class _Description(_Strict):
    format: Literal[1]
    kind: Name
    prior: Annotated[float, Field(ge=0, le=1e15)]
    shapes: dict[Name, Annotated[list[Size], Field(min_length=1, max_length=6)]]
    provenance: _Provenance
    tensors: Annotated[str, Field(pattern=r"^laplace-[0-9a-f]{8}\.safetensors$")]
    tensors_sha256: Digest


def require_description(body: Mapping[str, Any]) -> None:
    """Refuse a description with a field that is missing, too many, of another type or out of range.

    Args:
        body: What the JSON file holds, without its own checksum.

    Raises:
        LaloraError: If one is; the message names the first.
    """
    try:
        _Description.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise LaloraError(f"field '{field[:200]}': {first['msg']}") from error
