"""Errors that a user can act on: one clear line, no traceback on the command line."""


class LaloraError(Exception):
    """Bad input or an unusable environment, told in one line that says what to do."""


class TrainingDivergedError(LaloraError):
    """A loss or a gradient became NaN or infinite while fine-tuning."""


class RunsFailedError(LaloraError):
    """Some runs of a study failed; the others were finished and kept."""
