"""Source, target and held-out tasks: where their rows come from and how they are worded and encoded."""

from lalora.domains.appended import without_appended
from lalora.domains.catalogue import DOMAINS
from lalora.domains.domain import Domain
from lalora.domains.load import DomainData, is_here, load_domain
from lalora.domains.prompts import Example, examples
from lalora.domains.self_source import read_text, sample_text, write_text
from lalora.domains.task_files import harness_tasks
from lalora.domains.tokens import batches, collate, tokenize, tokenize_short

__all__ = [
    "DOMAINS",
    "Domain",
    "DomainData",
    "Example",
    "batches",
    "collate",
    "examples",
    "harness_tasks",
    "is_here",
    "load_domain",
    "read_text",
    "sample_text",
    "tokenize",
    "tokenize_short",
    "without_appended",
    "write_text",
]
