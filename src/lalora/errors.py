"""Errors that a user can act on: one clear line, no traceback on the command line."""

import traceback
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_KNOWN_TO_ALL = "known_to_all"
"""Marks the error that each of several processes ends with because one of them failed."""


class LaloraError(Exception):
    """Bad input or an unusable environment, told in one line that says what to do."""


class TrainingDivergedError(LaloraError):
    """A loss or a gradient became NaN or infinite while fine-tuning."""


class UnexpectedError(LaloraError):
    """What a run ended with that no user can act on, most likely a fault of lalora.

    Attributes:
        trace: The traceback of what was raised.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        """Keep both.

        Args:
            message: One line.
            trace: The traceback.
        """
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        """Say the line alone.

        Returns:
            The message.
        """
        return str(self.args[0])


class RunsFailedError(LaloraError):
    """Some runs of a study failed; the others were finished and kept."""


def make_known_to_all(error: BaseException) -> None:
    """Mark an error as one that the other processes end with as well.

    Args:
        error: What this process ends with.
    """
    vars(error)[_KNOWN_TO_ALL] = True


def is_known_to_all(error: BaseException | None) -> bool:
    """Tell whether the other processes end as well.

    Args:
        error: What this process ends with.

    Returns:
        Whether it, or what it was raised from, is marked so.
    """
    return error is not None and (_KNOWN_TO_ALL in vars(error) or is_known_to_all(error.__cause__))


def as_failure(error: Exception) -> LaloraError:
    """Turn whatever ended a run into an error that can be told, sent and kept.

    Args:
        error: Of any library.

    Returns:
        The error itself if it is lalora's, else one that names its type and the place where it came from.
    """
    if isinstance(error, LaloraError):
        return error
    return UnexpectedError(fault(error), "".join(traceback.format_exception(error)))


def fault(error: BaseException) -> str:
    """Describe an error that nothing was prepared for.

    Args:
        error: Of any library.

    Returns:
        A line with its type, what it says, and the place in lalora where it came from.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _HERE in Path(frame.filename).parents]
    place = f", at {Path(frames[-1].filename).relative_to(_HERE.parent)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {one_line(error)}{place}; this looks like a fault of lalora: --traceback shows it"


def imported_in(error: BaseException) -> str | None:
    """Tell during the import of which library an error was raised.

    Args:
        error: Of any library.

    Returns:
        Its file; None if it was raised otherwise, or by lalora itself.
    """
    frames = traceback.extract_tb(error.__traceback__)
    of_modules = [frame.filename for frame in frames if frame.name == "<module>"]
    return of_modules[-1] if of_modules and _HERE not in Path(of_modules[-1]).parents else None


def first_of(names: Sequence[str]) -> str:
    """Name the first of several things, and say how many more there are.

    Args:
        names: At least one.

    Returns:
        `'a'`, or `'a' and 3 more`.
    """
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"'{names[0]}'{more}"


def one_line(error: BaseException, longest: int = 500) -> str:
    """Put what an error says into one line.

    Args:
        error: Of any library.
        longest: Most characters.

    Returns:
        Its whole message on one line, without control characters; the name of its type where it says nothing.
    """
    words = " ".join(str(error).split()) or type(error).__name__
    told = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    return told if len(told) <= longest else f"{told[: longest - 1]}…"
