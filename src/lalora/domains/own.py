"""Domains of a user's own: any name, and rows of any kind that is turned into tokens."""

import re
from dataclasses import replace

from lalora.domains.catalogue import DOMAINS
from lalora.domains.domain import Domain, Role
from lalora.domains.harness_task import HarnessTask
from lalora.domains.own_rows import MULTIPLE_CHOICE, OwnRows
from lalora.errors import LaloraError, short
from lalora.text import ENGLISH

_NAME = re.compile(r"[^\W_][\w.+-]{0,39}")
_WORDED = DOMAINS["arc_challenge"]
"""The domain whose task words and scores multiple choice of a user's own."""
_SCORED = ("test", "validation", "dev", "val")


def domain_named(name: str, role: Role | None = None, rows: OwnRows | None = None) -> Domain:
    """Find a domain, or make one of that name.

    Args:
        name: one of the names in `DOMAINS`, or any other.
        role: what it is here; None for its usual role, which of a user's own is `source`.
        rows: what a user says of its rows, if anything.

    Returns:
        The domain.

    Raises:
        LaloraError: the name cannot be one, or is that of a domain whose rows have a kind.
    """
    known = DOMAINS.get(name)
    if known is not None and rows is not None and rows.kind is not None:
        raise LaloraError(f"{name} has columns of its own and takes no kind: give your rows another name")
    if known is not None:
        return known if role in (None, known.role) else replace(known, role=role, share=_share(role, known.share))
    if not _NAME.fullmatch(name):
        raise LaloraError(f"'{short(name)}' is no name for a domain: take at most 40 letters, digits and .+-_")
    if rows is not None and rows.kind == MULTIPLE_CHOICE:
        return replace(
            _WORDED, name=name, role=role or "source", hub="", config=None, scored=_SCORED, share=_share(role),
            embedded=None, rows=rows,
        )  # fmt: skip
    return Domain(
        name=name,
        role=role or "source",
        task=None,
        task_file=None,
        metric=None,
        hub="",
        config=None,
        columns={},
        label=None,
        identity=(),
        family=(),
        scored=_SCORED,
        share=_share(role),
        embedded=ENGLISH if name == ENGLISH else None,
        rows=rows,
        own=True,
    )


def task_domain(name: str, role: Role | None, given: HarnessTask) -> Domain:
    """Make a domain of a task of lm-evaluation-harness.

    Args:
        name: that its owner gives it.
        role: what it is here; None for `source`.
        given: the task.

    Returns:
        The domain; its definition and metric are those of the task, and not known yet.

    Raises:
        LaloraError: the name cannot be one, or is that of another domain.
    """
    if name in (*DOMAINS, ENGLISH):
        raise LaloraError(f"{name} is a domain of its own: give the task {short(given.task)} another name, NAME=task:…")
    return replace(domain_named(name, role), task=given.task, own=False)


def _share(role: Role | None, usual: float = 0.0) -> float:
    return 0.0 if role == "held-out" else usual or 0.5


def is_known(name: str) -> bool:
    """Tell whether a domain's rows are embedded.

    Args:
        name: any.

    Returns:
        Whether `embedded` is a place of it.
    """
    return name == ENGLISH or (name in DOMAINS and DOMAINS[name].embedded is not None)


def require_place(name: str, place: str) -> None:
    """Refuse a name that no data come with, where no place is given.

    Args:
        name: of a domain.
        place: where its rows are.

    Raises:
        LaloraError: it is a user's own, and its rows are said to be embedded or at its own place on the hub.
    """
    if name == ENGLISH and place == "hub":
        raise LaloraError(f"{ENGLISH} comes with lalora and is not on the hub: leave the place out")
    if name not in (*DOMAINS, ENGLISH) and place in ("embedded", "hub"):
        raise LaloraError(
            f"no domain is called '{name}'; there are {', '.join([*DOMAINS, ENGLISH])}; for text of your own give its "
            f"place, {name}=FILE"
        )
