"""Source, target and held-out tasks: where their rows come from and how they are worded."""

from lalora.extras import named_if_missing

with named_if_missing():
    from lalora.domains.catalogue import DOMAINS
    from lalora.domains.domain import Domain
    from lalora.domains.domain_data import DomainData
    from lalora.domains.harness_task import TASK_FILES, HarnessTask, task_at
    from lalora.domains.items import items, short_items
    from lalora.domains.load import Place, is_here, load_domain
    from lalora.domains.own import domain_named, is_known, require_place, task_domain
    from lalora.domains.own_rows import MULTIPLE_CHOICE, OwnRows
    from lalora.domains.prompts import examples
    from lalora.domains.task_files import ScoredTask, harness_tasks

__all__ = [
    "DOMAINS",
    "MULTIPLE_CHOICE",
    "TASK_FILES",
    "Domain",
    "DomainData",
    "HarnessTask",
    "OwnRows",
    "Place",
    "ScoredTask",
    "domain_named",
    "examples",
    "harness_tasks",
    "is_here",
    "is_known",
    "items",
    "load_domain",
    "require_place",
    "short_items",
    "task_at",
    "task_domain",
]
