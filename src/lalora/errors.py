"""Errors that a user can act on: one clear line, no traceback on the command line."""

_KNOWN_TO_ALL = "known_to_all"
"""Marks the error that each of several processes ends with because one of them failed."""


class LaloraError(Exception):
    """Bad input or an unusable environment, told in one line that says what to do."""


class TrainingDivergedError(LaloraError):
    """A loss or a gradient became NaN or infinite while fine-tuning."""


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
