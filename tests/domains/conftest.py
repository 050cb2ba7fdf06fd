"""A few rows for each domain, as the hub has them, and a small byte-level tokenizer."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

Row = dict[str, Any]
Write = Callable[[str, Iterable[Row]], Path]


def _rows(number: int) -> dict[str, Row]:
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


@pytest.fixture
def rows() -> Callable[..., list[Row]]:
    """Rows of a domain: `rows("gsm8k", 5)`, or from another number on."""
    return lambda name, count, start=0: [_rows(number)[name] for number in range(start, start + count)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows as JSON Lines below the test's folder."""

    def write_jsonl(name: str, items: Iterable[Row]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(item) + "\n" for item in items)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
        return path

    return write_jsonl


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [str(row) for number in range(20) for row in _rows(number).values()]
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<eos>", "<bos>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<eos>", bos_token="<bos>", pad_token="<eos>", model_max_length=512
    )
