"""How a Laplace is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from lalora.curvature import FITTED
from lalora.errors import LaloraError
from lalora.options import Count, OneOf, Part, Seed, check


@dataclass(frozen=True)
class FitSettings:
    """Every option of `lalora.fit` that changes the curvature. Checks itself."""

    curvature: Annotated[str, OneOf(tuple(FITTED)), Doc("Shape of the curvature.")] = "weight-kfac"
    fisher: Annotated[
        str | None,
        OneOf(("sequence", "token", "batch")),
        Doc("Estimator: by sequence, token, or batch (the paper's Eq. 5). None: what suits the curvature."),
    ] = None
    labels: Annotated[
        str, OneOf(("sampled", "data")), Doc("Labels of the gradients: the model's own, or the data's.")
    ] = "sampled"
    combine: Annotated[
        str, OneOf(("mean", "sum", "separate")), Doc("How the curvatures of several sources are put together.")
    ] = "mean"
    factor_rank: Annotated[
        Count | None, Doc("Most eigenvectors of a Kronecker factor to keep. None: all that the data support.")
    ] = None
    factor_keep: Annotated[
        Part | None, Doc("Share of the trace of a Kronecker factor to keep at least. None: all of it.")
    ] = None
    seed: Annotated[Seed, Doc("Of the sampled labels.")] = 0

    def __post_init__(self) -> None:
        """Check every value; a `fisher` that is left out becomes what suits the curvature."""
        check(self)
        able = FITTED[self.curvature].estimators
        if self.fisher is None:
            object.__setattr__(self, "fisher", able[0])
        elif self.fisher not in able:
            raise LaloraError(
                f"fisher='{self.fisher}' does not factor: use {' or '.join(able)} with curvature='{self.curvature}', "
                "or curvature='diagonal'"
            )
