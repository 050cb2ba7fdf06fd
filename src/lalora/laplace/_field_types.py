"""Types and ranges of what may stand in a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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


class Strict(BaseModel):
    """A part of a file: every field of its very type, none too many."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)
