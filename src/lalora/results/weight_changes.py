"""How the weights of a run moved, as kept in its results."""

from itertools import chain
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Weights = Annotated[int, Field(ge=0, le=2**53)]
"""A number of weights."""
_Positive = Annotated[float, Field(ge=1e-100, le=1e100, allow_inf_nan=False)]
_MOST_BINS = 200


class WeightChanges(BaseModel):
    """All adapter weights of a run, counted by start and end, and by |change|.

    `joint` has a row for each bin of the start and in it a count for each bin of the end. These bins are equally wide
    and reach from minus to plus the limit. `changes` has bins that are equally wide in the logarithm; changes of
    exactly zero (`unchanged`), smaller and larger ones are counted by themselves.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    weights: Weights
    start_limit: _Positive
    end_limit: _Positive
    joint: list[Annotated[list[Weights], Field(min_length=1, max_length=_MOST_BINS)]] = Field(
        min_length=1, max_length=_MOST_BINS
    )
    least_change: _Positive
    most_change: _Positive
    changes: list[Weights] = Field(min_length=1, max_length=_MOST_BINS)
    unchanged: Weights
    smaller: Weights
    larger: Weights

    @model_validator(mode="after")
    def _consistent(self) -> "WeightChanges":
        if len({len(row) for row in self.joint}) > 1:
            raise ValueError("the rows of 'joint' have different lengths")
        if sum(chain.from_iterable(self.joint)) != self.weights:
            raise ValueError("the counts in 'joint' do not add up to 'weights'")
        if self.unchanged + self.smaller + self.larger + sum(self.changes) != self.weights:
            raise ValueError("the counts of changes do not add up to 'weights'")
        if self.least_change >= self.most_change:
            raise ValueError("'least_change' is not below 'most_change'")
        return self

    @property
    def change_edges(self) -> list[float]:
        """The edges of the bins of |change|."""
        ratio, bins = self.most_change / self.least_change, len(self.changes)
        return [self.least_change * ratio ** (place / bins) for place in range(bins + 1)]

    @property
    def density(self) -> list[list[float]]:
        """The share of all weights per unit of start and of end, which does not depend on how wide bins are."""
        area = (2 * self.start_limit / len(self.joint)) * (2 * self.end_limit / len(self.joint[0]))
        whole = max(1, self.weights) * area
        return [[count / whole for count in row] for row in self.joint]
