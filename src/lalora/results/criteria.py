"""By what a setting of each method is selected: written in recipes, kept in results."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lalora.results.scores import ALPHA


class Criteria(BaseModel):
    """By what a setting of each method is selected, always on validation rows."""

    model_config = ConfigDict(extra="forbid", strict=True)

    learning: Literal["target_loss", "target_accuracy"] = Field("target_loss", description="The measure of learning.")
    keeping: Literal["source_kl", "source_loss", "source_accuracy"] = Field(
        "source_kl", description="The measure of keeping."
    )
    alpha: float = Field(ALPHA, ge=0, le=1, description="Weight of learning in the score S_B that plasticity takes.")
    floor: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Worst value of `keeping` at which learning alone decides. null: no such choice.",
    )
