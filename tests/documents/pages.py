"""The pages that people read, and the blocks of code in them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@dataclass(frozen=True)
class Block:
    """A block between two fences."""

    language: str
    code: str
    line: int


def blocks(path: Path) -> list[Block]:
    """Find what stands between fences, or in the code cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return [Block("python", "".join(cell["source"]), number) for number, cell in enumerate(cells, start=1)]
    return [
        Block(match[1].strip(), match[2], text[: match.start()].count("\n") + 2)
        for match in re.finditer(r"^```(.*)\n((?:(?!```).*\n)*?)```", text, re.MULTILINE)
    ]


def without_blocks(text: str) -> str:
    """Take out blocks and words in code marks, where nothing is a link."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*\n((?:(?!```).*\n)*?)```", "", text, flags=re.MULTILINE))
