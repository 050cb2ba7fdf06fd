"""The rows of a domain: those that methods may see, and those that are scored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lalora.domains.domain import Domain
from lalora.domains.same_question import family
from lalora.errors import LaloraError
from lalora.text import Row


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
        families = {family(self.domain, row) for row in taken}
        left = [row for row in self.train[: len(self.train) - rows] if family(self.domain, row) not in families]
        if len(taken) < rows or not left:
            raise LaloraError(
                f"{self.origin}: {len(self.train)} training rows of {self.domain.name} are too few to hold "
                f"{rows} back for validation; lower validation_rows"
            )
        return replace(self, train=left), replace(self, train=[], test=taken)
