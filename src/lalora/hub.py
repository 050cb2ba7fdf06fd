"""The Hugging Face hub: asked one quick question before anything is loaded, and what it answers told in one line."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lalora.errors import LaloraError, one_line

Kind = Literal["model", "dataset"]

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
_UNREACHED = ("TransportError", "ConnectionError", "TimeoutError", "Timeout")
"""What errors of the network are called, or their parents: the client changes its HTTP library between releases."""
_INSTEAD = "check the network, or copy the folder here and give its path"
_NOT_LOGGED_IN, _FORBIDDEN = 401, 403


def is_id(text: str) -> bool:
    """Tell whether a text has the form `user/name`."""
    return _ID.fullmatch(text) is not None


def id_in_cache(path: Path) -> tuple[str, str] | None:
    """Read the id and the revision from the place that the hub's cache gives a model; None of any other path."""
    for part, parent, revision in zip(path.parts, path.parts[1:], path.parts[2:], strict=False):
        if part.startswith("models--") and parent == "snapshots":
            return part.removeprefix("models--").replace("--", "/", 1), revision
    return None


def why_unavailable(repository: str, kind: Kind) -> str | None:
    """Say in one line why the hub has no such repository, or None; without the retries that loading would spend."""
    try:
        HfApi().repo_info(repository, repo_type=kind, timeout=10)
    except OfflineModeIsEnabled:
        return None
    except Exception as error:  # the client changes its HTTP library, and the errors with it, between releases
        return reason(error)
    return None


@contextmanager
def explained(what: str) -> Generator[None, None, None]:
    """Turn whatever the hub's client raises into one line that begins with what failed."""
    try:
        yield
    except LaloraError:
        raise
    except Exception as error:  # as above
        raise LaloraError(f"{what}: {reason(error)}") from error


def card_header(**fields: str | None) -> str:
    """Write what a card tells the hub, a field a line; without those that are None."""
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)


def upload(
    folder: Path,
    repository: str,
    message: str,
    *,
    replaces: str | None = None,
    token: str | None = None,
    **options: Any,
) -> str:
    """Make a repository where there is none, put a folder there in one commit, and return the commit's address."""
    if not is_id(repository):
        raise LaloraError(f"cannot push to '{repository}': give an id on the Hugging Face hub, user/name")
    with explained(f"cannot push to '{repository}' on the Hugging Face hub"):
        api = HfApi(token=token)
        api.create_repo(repository, exist_ok=True, **options)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, delete_patterns=replaces
        )
    return str(done)


def reason(error: BaseException) -> str:
    """Say in one line what the hub's client met, and what to do about it."""
    chain = _chain(error)
    for kind, told in (
        (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, so only what was fetched before can be used: unset it"),
        (
            GatedRepoError,
            "its owner gives access on request: ask for it on its page there, then log in with `hf auth login`",
        ),
        (
            RepositoryNotFoundError,
            "there is no such repository, or it is private: check the id, and log in with `hf auth login`",
        ),
        (RevisionNotFoundError, "it has no such revision: check the branch, tag or commit"),
        (LocalTokenNotFoundError, "you are not logged in: `hf auth login`, or set HF_TOKEN"),
    ):
        if any(isinstance(one, kind) for one in chain):
            return told
    codes = {getattr(one.response, "status_code", None) for one in chain if isinstance(one, HfHubHTTPError)}
    if _NOT_LOGGED_IN in codes:
        return "it knows no login with this token: `hf auth login`, or set HF_TOKEN"
    if _FORBIDDEN in codes:
        return "this login may not do that: check the name before the slash, and that the token may write"
    for one in chain:
        if any(kind.__name__ in _UNREACHED for kind in type(one).__mro__) and not isinstance(one, HfHubHTTPError):
            return f"the hub cannot be reached ({one_line(one, 120)}): {_INSTEAD}"
    if any(isinstance(one, LocalEntryNotFoundError) for one in chain):
        return f"the hub cannot be reached, and it was not fetched before: {_INSTEAD}"
    if any(isinstance(one, EntryNotFoundError) for one in chain):
        return "it lacks a file that is needed: check the id"
    if any(isinstance(one, HFValidationError) for one in chain):
        return "this is no id: the form is user/name"
    return one_line(error)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found
