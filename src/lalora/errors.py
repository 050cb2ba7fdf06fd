"""Errors that a user can act on: one clear line, no traceback on the command line."""

KNOWN_TO_ALL = "every process knows of this"
"""A note on the error that each of several processes ends with because one of them failed."""


class LaloraError(Exception):
    """Bad input or an unusable environment, told in one line that says what to do."""


class TrainingDivergedError(LaloraError):
    """A loss or a gradient became NaN or infinite while fine-tuning."""


def is_known_to_all(error: BaseException | None) -> bool:
    """Tell whether the other processes end as well.

    Args:
        error: What this process ends with.

    Returns:
        Whether it, or what it was raised from, has the note.
    """
    return error is not None and (KNOWN_TO_ALL in getattr(error, "__notes__", ()) or is_known_to_all(error.__cause__))
