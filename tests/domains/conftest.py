"""A few rows for each domain, as the hub has them, and a tokenizer that knows them."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from byte_level import byte_level
from hub_rows import hub_rows

Row = dict[str, Any]
Write = Callable[[str, Iterable[Row]], Path]


@pytest.fixture
def rows() -> Callable[..., list[Row]]:
    """Rows of a domain: `rows("gsm8k", 5)`, or from another number on."""
    return lambda name, count, start=0: [hub_rows(number)[name] for number in range(start, start + count)]


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
    return byte_level()
