"""Text as tokens: rows of whatever holds it, prompts and completions, batches."""

from lalora.text.appended import without_appended
from lalora.text.english import ENGLISH, ENGLISH_FILE
from lalora.text.example import Example
from lalora.text.files import KINDS, Row, kind_of, read_rows
from lalora.text.row import item_of, known_columns
from lalora.text.rows import TEXT_KINDS, rows_in
from lalora.text.self_text import read_text, sample_text, write_text
from lalora.text.source_batches import LONGEST, Text, batches_of_sources, source_batches
from lalora.text.tokens import batches, collate, tokenize, tokenize_short

__all__ = [
    "ENGLISH",
    "ENGLISH_FILE",
    "KINDS",
    "LONGEST",
    "TEXT_KINDS",
    "Example",
    "Row",
    "Text",
    "batches",
    "batches_of_sources",
    "collate",
    "item_of",
    "kind_of",
    "known_columns",
    "read_rows",
    "read_text",
    "rows_in",
    "sample_text",
    "source_batches",
    "tokenize",
    "tokenize_short",
    "without_appended",
    "write_text",
]
