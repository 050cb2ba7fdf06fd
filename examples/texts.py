"""Rows of a task or of other text: some to learn and to fit on, some to choose settings by, some to measure."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lalora import LaloraError
from lalora.domains import DOMAINS, examples, load_domain
from lalora.text import Example, tokenize_short

Item = dict[str, list[int]]
MOST = 1000


@dataclass(frozen=True)
class Text:
    """Rows of one kind as tokens, each in one part only."""

    name: str
    train: list[Item]
    choosing: list[Item]
    scored: list[Item]


def text(spec: str, tokenizer: Any, scored: int, longest: int, learned: bool = True) -> Text:
    """Read NAME=FILE, or an embedded data set by its name; no prompt is both learned and measured."""
    name, _, file = spec.partition("=")
    if file:
        found = of_file(Path(file))
        random.Random(name).shuffle(found)
        # More than are needed, since long ones are left out.
        train, test = found[8 * scored :], found[: 8 * scored]
    elif name in DOMAINS:
        data = load_domain(name)
        train, test = (examples(data.domain, rows[:MOST]) for rows in (data.train, data.test[: 8 * scored]))
    else:
        raise LaloraError(f"'{name}' is no embedded data set ({', '.join(DOMAINS)}): give {name}=rows.jsonl")
    kept, seen = (list(tokenize_short(part, tokenizer, longest).values()) for part in (train[:MOST], test))
    if len(seen) < 2 or (learned and not kept):
        raise LaloraError(f"{spec}: too few rows of at most {longest} tokens to learn from and to measure on")
    half = min(scored, len(seen) // 2)
    return Text(name, kept, seen[half : 2 * half], seen[:half])


def of_file(path: Path) -> list[Example]:
    """Read a file with a row a line; of rows with one prompt the last."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            rows = [json.loads(line) for line in file if line.strip()]
        found = [Example(str(row["prompt"]), str(row["completion"]), ends=True) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaloraError(f"{path}: give a JSON object with 'prompt' and 'completion' a line ({error!r})") from error
    return list({example.prompt: example for example in found}.values())
