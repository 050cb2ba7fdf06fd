from __future__ import annotations

from typing import Any

import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lalora.domains import DOMAINS, DomainData
from tiny import llama, shake

ROWS: dict[str, list[dict[str, Any]]] = {
    "winogrande": [
        {
            "sentence": f"The {a} beat the {b} so _ was glad.",
            "option1": f"the {a}",
            "option2": f"the {b}",
            "answer": "1",
        }
        for a, b in [("cat", "dog"), ("mouse", "elephant"), ("king", "queen"), ("red team", "blues")]
    ],
    "arc_challenge": [
        {
            "question": f"What is {n} and one?",
            "choices": {"text": [str(n + 1), "a dozen", "nothing at all"], "label": ["A", "B", "C"]},
            "answerKey": "A",
        }
        for n in range(4)
    ],
    "hellaswag": [
        {
            "activity_label": "Cooking",
            "ctx_a": f"A man holds {n} eggs.",
            "ctx_b": "he",
            "endings": ["breaks them.", "sings of the sea for an hour.", "flies.", "is an egg."],
            "source_id": f"film~{n}",
            "label": "0",
        }
        for n in range(4)
    ],
    "gsm8k": [
        {"question": f"How much is {n} + 2?", "answer": f"It is {n} + 2 = {n + 2}.\n#### {n + 2}"} for n in range(5, 9)
    ],
    "lambada": [{"text": text} for text in ("It was a dark night.", "She had a dog called Rex and Rex had her.")],
}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, besides an end and a pad token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: number for number, token in enumerate(["<pad>", "<end>", *alphabet])}
    bytewise = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytewise, pad_token="<pad>", eos_token="<end>", model_max_length=512
    )


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> PeftModel:
    base = llama(seed=3, vocab_size=len(tokenizer), max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id)
    model = get_peft_model(base, LoraConfig(r=3, target_modules="all-linear"))
    shake(model)
    return model


@pytest.fixture
def data() -> dict[str, DomainData]:
    """A few rows of every domain, all of them to score."""
    return {name: DomainData(DOMAINS[name], "here", [], rows, None, {}) for name, rows in ROWS.items()}
