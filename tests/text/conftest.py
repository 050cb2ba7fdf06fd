"""A tokenizer as real models have it."""

import pytest
from transformers import PreTrainedTokenizerBase

from byte_level import byte_level


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return byte_level()
