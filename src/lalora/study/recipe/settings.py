"""Every key of a recipe that is no option of a method, documented once."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lalora.complaint import complaint
from lalora.curvature import FITTED
from lalora.domains import HarnessTask, OwnRows, domain_named, require_place, task_at, task_domain
from lalora.domains.domain import Role
from lalora.errors import LaloraError
from lalora.options import Count, NonNegative, OneOf, Rank, at_most
from lalora.posthoc import RIVALS, rival_named

Place = Annotated[str, Field(min_length=1, max_length=4096)]
Seed = Annotated[int, Field(ge=0), at_most(2**32 - 1, "random generators take 32 bits")]
Rows = Annotated[int, Field(ge=1), at_most(2**20, "a batch must fit into memory")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), at_most(3e38, "float32 holds no larger number")]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False), at_most(1e30, "float32 holds no larger products")]
CurvatureKind = Annotated[str, OneOf(tuple(FITTED))]


def described(place: Any) -> Any:
    """Read a place of a domain; ValueError for a mapping that is none."""
    if isinstance(place, str):
        return task_at(place) or place
    # A union would tell of each of its members what does not fit.
    if not isinstance(place, dict):
        return place
    try:
        return (HarnessTask if "task" in place else OwnRows).model_validate(place)
    except ValidationError as error:
        raise ValueError(complaint(error.errors()[0])) from error


DomainPlace = Annotated[Place | OwnRows | HarnessTask, BeforeValidator(described)]


def _placed(places: dict[str, str | OwnRows | HarnessTask]) -> dict[str, str | OwnRows | HarnessTask]:
    for name, place in places.items():
        try:
            if isinstance(place, HarnessTask):
                task_domain(name, None, place)
                continue
            if isinstance(place, OwnRows):
                domain_named(name, rows=place)
            require_place(name, place.path if isinstance(place, OwnRows) else place)
        except LaloraError as error:
            raise ValueError(str(error)) from error
    return places


def _rivals(chosen: dict[str, list[float]]) -> dict[str, list[float]]:
    for name, knobs in chosen.items():
        try:
            rival = rival_named(name)
            for knob in knobs:
                rival.check(knob)
        except LaloraError as error:
            raise ValueError(str(error)) from error
    return chosen


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StudySettings(_Settings):
    """What all runs of a study have in common, and what their base model is measured on."""

    model: Place = Field(description="`smollm2-135m`, a local folder, or the id of a model on the Hugging Face hub.")
    random_weights: bool = Field(
        False, description="Only the shape of `model` counts, as for its costs; words are those of smollm2-135m then."
    )
    layers: Count | Literal["auto"] = Field(
        "auto", description="Of a model with random weights. auto: all on an accelerator, 2 on a CPU."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the frozen weights; adapters are always float32. `auto`: bfloat16 where the device has it.",
    )
    sources: Annotated[dict[str, DomainPlace], AfterValidator(_placed)] = Field(
        description="Domains whose knowledge is kept, each with its place: `embedded`, `hub`, a hub id or a path; any "
        "name for text of one's own, whose place can be a mapping: `path`, `kind` and the columns of multiple choice; "
        "or `task`, one of lm-evaluation-harness by name, or its YAML file.",
    )
    target: Annotated[dict[str, DomainPlace], AfterValidator(_placed)] = Field(
        min_length=1, max_length=1, description="The domain that is learned, with its place."
    )
    held_out: Annotated[dict[str, DomainPlace], AfterValidator(_placed)] = Field(
        default_factory=dict, description="Text that no method ever sees, with its place: it shows drift elsewhere."
    )
    max_length: Count | None = Field(
        None,
        description="Target rows of more tokens than this are left out, in training and scoring. null: the context.",
    )
    scored_rows: Count = Field(48, description="Rows of each domain on which loss and KL are measured.")
    accuracy_rows: int = Field(
        0, ge=0, description="Rows of each source on which accuracy is measured; 0: no accuracy."
    )
    target_accuracy_rows: int = Field(0, ge=0, description="The same for the target.")
    max_new_tokens: Count = Field(128, description="Length of a generated answer to a target question, in tokens.")
    evaluation_batch_size: Rows = Field(8, description="Rows a batch in all measurements.")
    evaluate_at: list[Count] = Field(
        default_factory=list,
        description="Optimizer steps after which loss and KL are measured, besides first and last.",
    )
    accuracy_at: list[Count] = Field(
        default_factory=list, description="Optimizer steps after which accuracy is measured too."
    )
    validation_rows: int = Field(
        0,
        ge=0,
        description="Training rows of the target and of each source that no method sees, to choose settings by.",
    )
    forecasts: list[CurvatureKind] = Field(
        default_factory=list,
        description="Curvatures fitted at the start of every run whose forecast stands beside each measured KL.",
    )
    timed_steps: int = Field(
        0, ge=0, description="Steps of each run whose parts are timed, and their memory measured, before it begins."
    )
    all_logits: bool = Field(
        False,
        description="In timed steps, compute the logits of every position, as Hugging Face models do when given "
        "labels; the default computes those of completion tokens alone.",
    )
    scales: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=list,
        description="Factors α at which each trained adapter is measured too, ΔW → αΔW; 0 is the base, 1 the adapter.",
    )
    soften: list[NonNegative] = Field(
        default_factory=list,
        description="Strengths λ at which each trained adapter is measured too, softened; 0 is its best scale.",
    )
    after: Annotated[dict[str, list[float]], AfterValidator(_rivals)] = Field(
        default_factory=dict,
        description="Rivals of softening, each with the values of its knob at which each trained adapter is measured "
        f"too: {', '.join(RIVALS)}.",
    )
    soften_rows: Count = Field(
        32, description="Rows of the target and of each source that softening and its rivals are fitted on."
    )

    @property
    def places(self) -> dict[Role, dict[str, DomainPlace]]:
        """The places of all domains, by what they are here."""
        return {"source": self.sources, "target": self.target, "held-out": self.held_out}

    @model_validator(mode="after")
    def _names_of_one_role(self) -> "StudySettings":
        named = [name for places in self.places.values() for name in places]
        if twice := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
            raise ValueError(f"'{twice[0]}' stands in two of sources, target and held_out: give it another name in one")
        return self

    @model_validator(mode="after")
    def _rows_for_accuracy(self) -> "StudySettings":
        if self.accuracy_at and not (self.accuracy_rows or self.target_accuracy_rows):
            raise ValueError("accuracy_at measures nothing without accuracy_rows or target_accuracy_rows")
        return self


SELF_SOURCE = frozenset({"source_length", "source_temperature"})
"""Settings of the text that the base model writes itself."""
OF_BUDGET = frozenset({"budget_by", "budget_every", "budget_rows"})
"""Settings of runs with a budget."""
OF_SOURCES = frozenset({"source_rows", "source_batch_size", "source_text", "source_domains"}) | SELF_SOURCE
"""Settings of runs whose methods need source text."""


class RunSettings(_Settings):
    """What may differ between the runs of a study, besides their methods and the options of these."""

    seed: Seed = Field(0, description="Of the adapter's start, the order of the data and the sampled labels.")
    rank: Rank = Field(16, description="r of the adapter.")
    alpha: Count = Field(32, description="α of the adapter: its output is scaled by α/r.")
    init: Literal["kaiming", "gaussian"] = Field(
        "kaiming",
        description="Where A starts, as in PEFT: uniform within ±1/√d_in, or normal with deviation 1/r. B starts at 0.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="On the input of the adapter while training.")
    target_modules: Place | list[Place] = Field(
        "all-linear",
        description="`all-linear`, a regular expression, or a list of module names such as [q_proj, k_proj].",
    )
    steps: Count = Field(description="Optimizer steps.")
    batch_size: Rows = Field(4, description="Rows a forward pass of each process.")
    accumulation: Count = Field(1, description="Forward passes an optimizer step.")
    learning_rate: LearningRate = Field(5e-4, description="Peak learning rate of AdamW.")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="Of the learning rate.")
    warmup_steps: int = Field(0, ge=0, description="Steps over which the learning rate rises.")
    weight_decay: NonNegative = Field(0.0, description="Of AdamW.")
    max_grad_norm: Positive = Field(1.0, description="Gradients are clipped to this norm.")
    source_rows: Count = Field(8, description="Rows of each source that a method may see.")
    source_batch_size: Rows = Field(4, description="Rows a batch of these; counts for `fisher: batch` and for `kl`.")
    source_domains: list[Place] | None = Field(
        None, min_length=1, description="Sources whose rows these are. null: all sources of the study."
    )
    budget: Positive | None = Field(
        None, description="Most drift that the adapter may end with, KL(base ‖ model) in nats per token. null: none."
    )
    budget_by: Literal["softening", "control", "both"] = Field(
        "softening", description="Kept by softening after the last step, by control of the strengths, or by both."
    )
    budget_every: Count = Field(4, description="Steps from one measurement to the next, for control.")
    budget_rows: Count = Field(16, description="Other rows of each source that the budget is measured on.")
    source_text: Literal["source", "self"] = Field(
        "source",
        description="Where these rows come from: training rows of the sources, or text that the base model writes.",
    )
    source_length: int = Field(128, ge=2, description="Most tokens of a text that the base model writes.")
    source_temperature: Positive = Field(1.0, description="At which it writes.")

    @property
    def softens(self) -> bool:
        """Whether the run is softened to its budget."""
        return self.budget is not None and self.budget_by != "control"
