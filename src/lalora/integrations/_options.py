"""What a configuration file of another trainer may ask of lalora."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lalora.curvature import FITTED
from lalora.errors import LaloraError
from lalora.laplace import FitSettings, Laplace, laplace_folder
from lalora.methods import LaLoRA, Method
from lalora.options import NonNegative, OneOf


class Options(BaseModel):
    """The section `lalora`.

    Attributes:
        laplace: Folder that `lalora fit` or `Laplace.save` wrote, or an id on the hub.
        strength: λ of the penalty.
        sources: Source text by name, each a file or folder as `lalora.source_batches` takes it; or one of them.
        curvature: Of the fit on `sources`, where no `laplace` is given.
        budget: Most KL(base ‖ model), in nats per token, of the trained adapter, which is softened until it is met.
        budget_sources: Text that the budget is measured on, as `sources`; by default every second batch of `sources`.
    """

    model_config = ConfigDict(extra="forbid")

    laplace: Annotated[str, Field(min_length=1)] | None = None
    strength: NonNegative | None = None
    sources: dict[str, str] | Annotated[str, Field(min_length=1)] | None = None
    curvature: Annotated[str, OneOf(tuple(FITTED))] = FitSettings.curvature
    budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    budget_sources: dict[str, str] | Annotated[str, Field(min_length=1)] | None = None
    budget_by: Literal["softening", "control", "both"] = "softening"

    @model_validator(mode="after")
    def _make_sense_together(self) -> Options:
        if self.strength is None and self.budget is None:
            raise ValueError("lalora does nothing: give strength, or sources and budget")
        if self.laplace is None and not self.sources:
            raise ValueError("lalora has nothing to go by: give laplace, a folder or hub id, or sources, files of text")
        if self.laplace is not None and self.strength is None:
            raise ValueError("a laplace is for a penalty: give strength")
        if self.budget_sources and self.budget is None:
            raise ValueError("budget_sources are what a budget is measured on: give budget, in nats per token")
        if self.budget is not None and not (self.sources or self.budget_sources):
            raise ValueError("a budget is measured on text: give sources")
        return self

    @property
    def acts_by_callback(self) -> bool:
        """Whether a callback can do all of it: a penalty with a Laplace that is there already."""
        return not self.sources and self.budget is None

    def methods(self) -> list[Method]:
        """Make the penalty; none where a budget alone is asked for."""
        if self.strength is None:
            return []
        if self.laplace is None:
            return [LaLoRA(self.strength, curvature=self.curvature)]
        return [LaLoRA(self.strength, laplace=load(self.laplace))]


def load(place: str) -> Laplace:
    """Load a Laplace from a folder or the hub.

    Raises:
        LaloraError: If there is none, or it is damaged.
    """
    try:
        return Laplace.load(laplace_folder(place))
    except LaloraError as error:
        raise LaloraError(f"lalora.laplace: {error}") from error
