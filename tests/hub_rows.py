"""A row of each domain, as the hub has them."""

from __future__ import annotations

from typing import Any


def hub_rows(number: int) -> dict[str, dict[str, Any]]:
    return {
        "winogrande": {
            "sentence": f"The trophy {number} did not fit into the suitcase because the _ was too large.",
            "option1": f"trophy {number}",
            "option2": "suitcase",
            "answer": "1",
        },
        "arc_challenge": {
            "id": f"q{number}",
            "question": f"What is {number} metres of ice made of?",
            "choices": {"text": ["stone", "water", "wood"], "label": ["A", "B", "C"]},
            "answerKey": "B",
        },
        "hellaswag": {
            "ind": number,
            "activity_label": "Knitting",
            "ctx_a": f"A woman sits at table {number}.",
            "ctx_b": "she",
            "ctx": f"A woman sits at table {number}. she",
            "endings": ["flies. [step] away", "knits  a scarf.", "sinks.", "is a table."],
            "source_id": f"film~{number}",
            "split": "val",
            "label": "1",
        },
        "gsm8k": {
            "question": f"Ann has {number} apples and buys 2. How many has she?",
            "answer": f"She has {number}+2=<<{number}+2={number + 2}>>{number + 2}.\n#### {number + 2}",
        },
        "math": {
            "problem": f"What is ${number} + 2$?",
            "solution": f"We add and get ${number} + 2 = \\boxed{{{number + 2}}}$.",
        },
        "lambada": {"text": f"It was {number} o'clock, and the lamp went out"},
    }
