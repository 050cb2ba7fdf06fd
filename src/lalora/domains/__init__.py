"""Source, target and held-out tasks: where their rows come from and how they are worded."""

from lalora.extras import named_if_missing

with named_if_missing():
    from lalora.domains.catalogue import DOMAINS
    from lalora.domains.domain import Domain
    from lalora.domains.items import items, short_items
    from lalora.domains.load import DomainData, is_here, load_domain
    from lalora.domains.own import domain_named, is_known, require_place
    from lalora.domains.own_rows import MULTIPLE_CHOICE, OwnRows
    from lalora.domains.prompts import examples
    from lalora.domains.task_files import harness_tasks

__all__ = [
    "DOMAINS",
    "MULTIPLE_CHOICE",
    "Domain",
    "DomainData",
    "OwnRows",
    "domain_named",
    "examples",
    "harness_tasks",
    "is_here",
    "is_known",
    "items",
    "load_domain",
    "require_place",
    "short_items",
]
