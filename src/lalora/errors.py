"""Errors that a user can act on: one clear line, no traceback on the command line."""

import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_KNOWN_TO_ALL = "known_to_all"
"""Marks the error that each of several processes ends with because one of them failed."""


class LaloraError(Exception):
    """Bad input or an unusable environment, in one line that says what to do."""


class TrainingDivergedError(LaloraError):
    """A loss or a gradient became NaN or infinite while fine-tuning."""


class UnexpectedError(LaloraError):
    """What a run ended with that no user can act on, most likely a fault of lalora.

    Attributes:
        trace: The traceback of what was raised.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        """Keep both."""
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        """Leave the traceback out."""
        return str(self.args[0])


class RunsFailedError(LaloraError):
    """Some runs of a study failed; the others were finished and kept."""


def make_known_to_all(error: BaseException) -> None:
    """Mark an error as one that the other processes end with as well."""
    vars(error)[_KNOWN_TO_ALL] = True


def is_known_to_all(error: BaseException | None) -> bool:
    """Tell whether the other processes end as well."""
    return error is not None and (_KNOWN_TO_ALL in vars(error) or is_known_to_all(error.__cause__))


def as_failure(error: Exception) -> LaloraError:
    """Turn whatever ended a run into an error that can be pickled, printed and kept; lalora's own stay as they are."""
    if isinstance(error, LaloraError):
        return error
    return UnexpectedError(fault(error), "".join(traceback.format_exception(error)))


def fault(error: BaseException) -> str:
    """Describe an unexpected error in a line: its type, its message, and the place in lalora where it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _HERE in Path(frame.filename).parents]
    place = f", at {Path(frames[-1].filename).relative_to(_HERE.parent)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {one_line(error)}{place}; this looks like a fault of lalora: --traceback shows it"


def imported_in(error: BaseException) -> str | None:
    """Find the file of the library during whose import an error was raised; None if it was raised otherwise."""
    frames = traceback.extract_tb(error.__traceback__)
    of_modules = [frame.filename for frame in frames if frame.name == "<module>"]
    return of_modules[-1] if of_modules and _HERE not in Path(of_modules[-1]).parents else None


def first_of(names: Sequence[str]) -> str:
    """Name the first of several things and count the others: `'a'`, or `'a' and 3 more`."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"'{names[0]}'{more}"


def one_line(error: BaseException, longest: int = 500) -> str:
    """Put an error's message on one line, without control characters; the name of its type where it has none."""
    words = " ".join(str(error).split()) or type(error).__name__
    told = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    return told if len(told) <= longest else f"{told[: longest - 1]}…"


def warn(message: str) -> None:
    """Warn at the line outside of lalora that led here."""
    frame, level = sys._getframe(1), 2
    inside = ("lalora.", "torch.utils._contextlib")
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def short(text: str, longest: int = 100) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def first_sentence(error: BaseException) -> str:
    """Put the first sentence of an error's message on one line, as `one_line` does."""
    return one_line(error).split(". ")[0]
