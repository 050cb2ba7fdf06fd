"""The shape of `results.json`; losses and KL are in nats per token."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, model_validator

from lalora.results.criteria import Criteria
from lalora.results.published import Published, PublishedCost, PublishedValidation
from lalora.results.weight_changes import WeightChanges

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
    adapter was scaled after training; `strength` where it was softened, from that scale on; `rival` and `knob` where it
    was changed in another way. `rows` and `accuracy_rows` are how many rows of each data set were measured: the base
    model's row tells them, which all steps share, and that of older versions does not.
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
    rival: Label | None = None
    knob: Number = None
    loss: dict[str, Number] = {}
    kl: dict[str, Number] = {}
    accuracy: dict[str, Number] = {}
    forecasts: dict[str, Number] = {}
    rows: dict[str, int] = {}
    accuracy_rows: dict[str, int] = {}


class Step(BaseModel):
    """What the training logged at one step."""

    step: int
    loss: Number = None
    penalty: Number = None
    forecast: Number = None


class Controlled(BaseModel):
    """A measurement of the drift while training, and what strengths were multiplied with from then on."""

    step: int
    drift: Number = None
    strength_factor: Number = None


class Budgeted(BaseModel):
    """How a run was softened to its budget: the drift on the budget's rows before and after, and λ."""

    trained_drift: Number = None
    drift: Number = None
    softening_strength: Number = None


class PrecisionGroup(BaseModel):
    """A group of adapter weights by precision: how many, their precision, their mean |change|."""

    group: str
    n: int
    mean: Number = None
    min: Number = None
    max: Number = None
    change: Number = None


class Cost(BaseModel):
    """What a part of a fit or of a step took.

    Seconds; the bytes that tensors hold after it (`allocated`), the most that they held within it (`peak`), and what
    the allocator holds after it (`reserved`). On a CPU memory is that of the whole process. What was written before
    there was a `peak` had the peak as `allocated`, and is read so.
    """

    part: str
    seconds: Number = None
    allocated: Number = None
    peak: Number = None
    reserved: Number = None

    @model_validator(mode="before")
    @classmethod
    def _peak_of_older_results(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "peak" not in fields:
            return {**fields, "peak": fields.get("allocated"), "allocated": None}
        return fields


class AfterCost(BaseModel):
    """What a part of a change after training took: a fit, what serves all values of a knob, or one value (`at …`).

    Seconds; the bytes that were held at most beyond those before. A fit that several share is told with each.
    """

    rival: Label
    part: str
    seconds: Number = None
    memory: Number = None


class MethodNames(BaseModel):
    """What a method is called in texts, and which of its settings trades learning against forgetting."""

    label: Label
    knob: str = "strength"


class RivalNames(BaseModel):
    """What a change after training is called, the sign of its knob, and where on it the adapter is as it was."""

    label: Label
    knob: Label
    adapter: float = 0.0


class Run(BaseModel):
    """One fine-tuning.

    Of a run with a budget `final` is within it, or nearest to it; `trained` is the adapter before it was softened.
    """

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
    trained: Evaluation | None = None
    budgeted: Budgeted | None = None
    controlled: list[Controlled] = []
    after: list[Evaluation] = []
    after_costs: list[AfterCost] = []
    validation: Evaluation | None = None
    train: list[Step] = []
    seconds: Number = None
    step_seconds: Number = None
    costs: list[Cost] = []
    precision_groups: list[PrecisionGroup] | None = None
    weight_changes: WeightChanges | None = None

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


class Selected(BaseModel):
    """The settings of one method, and the labels of those that were selected."""

    method: Label
    knob: str
    settings: list[Setting]
    stability: str
    plasticity: str
    above_floor: str | None = None
    hypervolume: Number = None


class Comparison(BaseModel):
    """A selected setting minus the baseline in one metric of scored rows, with the interval of that difference alone.

    `p` is that of the paired t-test, corrected by Holm for all comparisons of the study; `sure` where it is below 0.05.
    """

    label: Label
    metric: str
    mean: Number = None
    low: Number = None
    high: Number = None
    p: Number = None
    seeds: int
    sure: bool


class Selection(Criteria):
    """Which settings were selected, and by what."""

    baseline: str | None = None
    left_out: list[str] = Field(default_factory=list)
    methods: list[Selected]
    comparisons: list[Comparison] = Field(default_factory=list)


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
    methods: dict[Label, MethodNames] = {}
    rivals: dict[Label, RivalNames] = {}
    runs: list[Run]
    selection: Selection | None = None
    published: list[Published] = []
    published_validation: list[PublishedValidation] = []
    published_costs: list[PublishedCost] = []

    @property
    def seeds(self) -> int:
        """The number of different seeds."""
        return len({run.seed for run in self.runs if run.seed is not None})

    def rival(self, name: str) -> RivalNames:
        """Returns how to call a change after training, by its name in recipes where the study says no other."""
        return self.rivals.get(name, RivalNames(label=name, knob="knob"))

    def names_of(self, method: str) -> MethodNames:
        """Returns how to call a method, by its name in recipes where the study says no other."""
        return self.methods.get(method, MethodNames(label=method))
