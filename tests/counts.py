"""How large the source is and how it is cut: `python tests/counts.py [FOLDER …]` prints one row for each folder."""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

HEAD = (
    "| {:32} | files | median | max | >300 | Python lines | code | docstrings | comments | functions | median | >60 |"
)
ROW = "| {:32} | {:5} | {:6.0f} | {:3} | {:4} | {:12,} | {:6,} | {:10,} | {:8,} | {:9,} | {:6.0f} | {:3} |"
LONG_FILE, LONG_FUNCTION = 300, 60


def main() -> None:
    print(HEAD.format("folder"))
    for folder in sys.argv[1:] or ["src/lalora"]:
        files = sorted(Path(folder).rglob("*.py"))
        lines = [len(file.read_text(encoding="utf-8").splitlines()) for file in files]
        docstrings = sum(of_docstrings(file) for file in files)
        comments, code = map(sum, zip(*(of_comments_and_code(file) for file in files), strict=True))
        bodies = [body for file in files for body in bodies_of_functions(file)]
        print(
            ROW.format(
                folder,
                len(files),
                statistics.median(lines),
                max(lines),
                sum(count > LONG_FILE for count in lines),
                sum(lines),
                code - docstrings,
                docstrings,
                comments,
                len(bodies),
                statistics.median(bodies),
                sum(body > LONG_FUNCTION for body in bodies),
            )
        )


def of_docstrings(file: Path) -> int:
    owners = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    texts = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and ast.get_docstring(node)]
    return sum(
        bool(line.strip()) for text in texts for line in (ast.get_source_segment(source, text) or "").splitlines()
    )


def of_comments_and_code(file: Path) -> tuple[int, int]:
    text = file.read_text(encoding="utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    comments = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and not text_before(token)}
    blank = sum(not line.strip() for line in text.splitlines())
    return len(comments), len(text.splitlines()) - blank - len(comments)


def text_before(token: tokenize.TokenInfo) -> bool:
    return bool(token.line[: token.start[1]].strip())


def bodies_of_functions(file: Path) -> Iterator[int]:
    """Lines of each body without its docstring."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                yield (node.end_lineno or 0) - body[0].lineno + 1


if __name__ == "__main__":
    main()
