"""What a publication reports: written in recipes, kept in results, shown beside what was measured."""

from pydantic import BaseModel, ConfigDict, Field


class Published(BaseModel):
    """What a publication reports of a setting."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: str = Field(description="The label that the setting has in tables here.")
    source_accuracy: float = Field(ge=0, allow_inf_nan=False, le=1, description="Mean over sources, 0 to 1.")
    target_accuracy: float = Field(ge=0, allow_inf_nan=False, le=1, description="0 to 1.")
    source_spread: float | None = Field(None, ge=0, allow_inf_nan=False, description="Standard deviation over seeds.")
    target_spread: float | None = Field(None, ge=0, allow_inf_nan=False, description="Standard deviation over seeds.")


class PublishedValidation(BaseModel):
    """What a publication reports of a setting on validation rows, by which it chose."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: str = Field(description="The label that the setting has in tables here.")
    target_accuracy: float | None = Field(None, ge=0, allow_inf_nan=False, le=1, description="0 to 1.")
    source_accuracy: float | None = Field(None, ge=0, allow_inf_nan=False, le=1, description="Mean over sources.")
    score: float | None = Field(None, ge=0, allow_inf_nan=False, le=1, description="Its S_B.")


class PublishedCost(BaseModel):
    """What a publication reports of the cost of a part of a setting."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: str = Field(description="The label that the setting has in tables here.")
    part: str = Field(
        description="`fit <source>`, `mode`, `ready`, `training`, `forward`, `method`, `backward` or `optimizer`."
    )
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False, description="Of one micro-batch, or of a fit.")
    allocated: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="GPU memory that tensors hold after it, in GiB of 2³⁰ bytes."
    )
    reserved: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="GPU memory that the allocator holds after it, in GiB."
    )
    order: str | None = Field(None, description="How time and memory grow, for one adapted layer.")
