"""The shape of `results.json`, as far as the report reads it; losses and KL are in nats per token."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from lalora.errors import LaloraError

FORMAT = 1


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite)]
"""A measured number; one that was not measured, is NaN or infinite reads as None."""

Label = Annotated[str, Field(max_length=300, pattern=r"^[^$]*$")]
"""What a run, a method or a study is called; a `$` would begin a formula in pictures."""


class Evaluation(BaseModel):
    """What was measured on a model at one step.

    `forecast` only where the method has one; `forecasts` by curvature, where the study asks for them; `alpha` where the
    adapter was scaled after training; `strength` where it was softened, from that scale on.
    """

    step: int = 0
    target_loss: Number = None
    source_loss: Number = None
    heldout_loss: Number = None
    source_kl: Number = None
    heldout_kl: Number = None
    source_accuracy: Number = None
    target_accuracy: Number = None
    forecast: Number = None
    alpha: Number = None
    strength: Number = None
    loss: dict[str, Number] = {}
    kl: dict[str, Number] = {}
    accuracy: dict[str, Number] = {}
    forecasts: dict[str, Number] = {}


class Step(BaseModel):
    """What the training logged at one step."""

    step: int
    loss: Number = None
    penalty: Number = None
    forecast: Number = None


class PrecisionGroup(BaseModel):
    """A group of adapter weights by precision: how many, their precision, their mean |change|."""

    group: str
    n: int
    mean: Number = None
    min: Number = None
    max: Number = None
    change: Number = None


class Cost(BaseModel):
    """What a part of a fit or of a step took: seconds, and the most bytes held meanwhile."""

    part: str
    seconds: Number = None
    allocated: Number = None
    reserved: Number = None


class Run(BaseModel):
    """One fine-tuning."""

    name: Label
    method: Label
    label: Label
    strength: Number = None
    seed: int | None = None
    settings: dict[str, Any] = {}
    final: Evaluation | None = None
    curve: list[Evaluation] = []
    scaled: list[Evaluation] = []
    softened: list[Evaluation] = []
    validation: Evaluation | None = None
    train: list[Step] = []
    seconds: Number = None
    step_seconds: Number = None
    costs: list[Cost] = []
    precision_groups: list[PrecisionGroup] | None = None

    @property
    def points(self) -> list[Evaluation]:
        """Every evaluation by step, the final one last (it may know more than the curve does)."""
        rows = {row.step: row for row in self.curve}
        if self.final is not None:
            rows[self.final.step] = self.final
        return [rows[step] for step in sorted(rows)]


class Setting(BaseModel):
    """A setting of a method, by the validation rows: what was learned and kept there, and S_B."""

    label: Label
    learning: Number = None
    keeping: Number = None
    score: Number = None


class Chosen(BaseModel):
    """The settings of one method, and the labels of those that were chosen."""

    method: Label
    knob: str
    settings: list[Setting]
    stability: str
    plasticity: str
    above_floor: str | None = None
    hypervolume: Number = None


class Comparison(BaseModel):
    """A chosen setting minus the baseline in one metric of the scored rows; `sure` where the interval excludes zero."""

    label: Label
    metric: str
    mean: Number = None
    low: Number = None
    high: Number = None
    seeds: int
    sure: bool


class Selection(BaseModel):
    """Which settings were chosen, and by what."""

    learning: str
    keeping: str
    alpha: float
    floor: Number = None
    baseline: str | None = None
    left_out: list[str] = []
    methods: list[Chosen]
    comparisons: list[Comparison] = []


class Published(BaseModel):
    """What a publication reports of a setting: accuracies from 0 to 1, means over seeds."""

    run: str
    source_accuracy: float
    target_accuracy: float
    source_spread: Number = None
    target_spread: Number = None


class PublishedCost(BaseModel):
    """What a publication reports of the cost of a part of a setting: seconds, GB, and how both grow."""

    run: str
    part: str
    seconds: Number = None
    allocated: Number = None
    reserved: Number = None
    order: str | None = None


class Results(BaseModel):
    """A whole study."""

    format: int
    name: str
    lalora: str = ""
    created: str = ""
    command: str = ""
    versions: dict[str, str] = {}
    machine: str = ""
    recipe: dict[str, Any] = {}
    notes: list[str] = []
    base: Evaluation
    runs: list[Run]
    selection: Selection | None = None
    published: list[Published] = []
    published_costs: list[PublishedCost] = []

    @property
    def seeds(self) -> int:
        """The number of different seeds."""
        return len({run.seed for run in self.runs if run.seed is not None})


def parse(results: dict[str, Any], where: str = "results") -> Results:
    """Returns results that were read or just measured with types, every field checked.

    Args:
        results: the content of a `results.json`.
        where: what to call the results in an error message, such as the file name.

    Raises:
        LaloraError: a field is missing or of the wrong type, or the format is another one.
    """
    found = None if isinstance(results.get("format"), bool) else results.get("format")
    if not isinstance(found, int) or found < FORMAT:
        raise LaloraError(
            f"{where}: written in an older format ({found}) than this lalora reads ({FORMAT}); run the study again"
        )
    if found > FORMAT:
        raise LaloraError(
            f"{where}: written in a newer format ({found}) than this lalora reads ({FORMAT}); update lalora"
        )
    try:
        return Results.model_validate(results)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise LaloraError(f"{where}: field '{field}': {first['msg']}; run the study again") from error
