"""What a run failed with, kept in its folder until it is done."""

from pathlib import Path

from lalora.errors import LaloraError, UnexpectedError
from lalora.files import write_json

FAILURE = "failed.json"


def keep_failure(folder: Path, error: LaloraError) -> None:
    """Write down why a run failed."""
    folder.mkdir(parents=True, exist_ok=True)
    trace = error.trace if isinstance(error, UnexpectedError) else ""
    write_json(folder / FAILURE, {"error": str(error), "traceback": trace})


def forget_failure(folder: Path) -> None:
    """Remove what `keep_failure` wrote, if it did."""
    (folder / FAILURE).unlink(missing_ok=True)
