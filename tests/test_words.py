"""The field's words: none of those that they took the place of is left in source, documents, messages or page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT = {
    r"charge[sd]?|charging": "penalty",
    r"foretold|foretells?": "predicted",
    r"prox(y|ies)(_\w+)?": "source rows, source batches",
    r"surrogates?(?! pair)": "source rows, source batches",
    r"[Bb]ench|open_bench": "context",
    r"conduct(ed|s)?": "run_study",
    r"[Mm]aterial": "data",
    r"launched|voice": "distributed, console",
    r"unbeaten": "pareto_front",
    r"[Dd]o it again": "Reproduce",
    r"[Rr]ead with care": "Caveats",
    r"as it came": "is left unchanged",
    r"processes\.(gathered|totals?|sent|agreed|together|count|own_rank)": "all_gather, all_reduce, broadcast, …",
    r"half_quadratic_and_gradient": "value_and_grad",
    r"begin_step": "after_backward",
    r"unless given": "(default …)",
}


def texts() -> Iterator[Path]:
    folders = ("src", "docs", "examples", "benchmarks")
    kinds = ("py", "html", "js", "css", "yaml", "md", "j2")
    yield from (path for folder in folders for kind in kinds for path in (ROOT / folder).rglob(f"*.{kind}"))
    yield from ROOT.glob("*.md")


@pytest.mark.parametrize("word", LEFT, ids=str)
def test_a_word_is_gone(word: str) -> None:
    pattern = re.compile(rf"(?<![\w\[,-])({word})(?!\w)")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, f"say {LEFT[word]}"
