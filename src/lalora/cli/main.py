"""Run the command line and end it well."""

import errno
import os
import sys
import traceback

from lalora.cli.interrupt import resumable
from lalora.cli.launcher import is_main, silent_unless_main
from lalora.cli.streams import accept_any_character
from lalora.errors import LaloraError, RunsFailedError, UnexpectedError, fault, imported_in, is_known_to_all, one_line
from lalora.extras import how_to_install
from lalora.files import is_of_the_disk

_BAD_INPUT, _FAULT = 2, 70
_TRACEBACK = "--traceback"
# What the user named is not there, is of another kind, or cannot be opened.
_OF_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EMFILE)


def main() -> None:
    """Run the command line; whatever happens ends in one line.

    Exit status 2 is for what a user can act on, 130 for Ctrl-C, and 70 for an error that nothing was prepared for.
    `--traceback`, anywhere on the command line, shows where an error came from.
    """
    # Read when torch is imported. By default its threads spin while they wait for each other, and as soon as anything
    # else runs on the same cores everything takes many times as long; a short spin costs little either way.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    accept_any_character()
    shows_traceback = _TRACEBACK in sys.argv[1:]
    sys.argv = [word for word in sys.argv if word != _TRACEBACK]
    try:
        with silent_unless_main(), resumable("run the same command again"):
            # Here and not above: without the extra, the user gets a line that names it.
            from lalora.cli.app import app

            app(prog_name="lalora")
    except Exception as error:
        if shows_traceback:
            traceback.print_exception(error)
        message, status = _line_and_status(error)
        _close_bars()
        if is_main() or not is_known_to_all(error):
            print(f"error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(status)


def _close_bars() -> None:
    # An error must not stand behind a bar on one line.
    tqdm = sys.modules.get("tqdm")
    for bar in list(getattr(getattr(tqdm, "tqdm", None), "_instances", ())):
        bar.close()


def _line_and_status(error: Exception) -> tuple[str, int]:
    if isinstance(error, RunsFailedError) and isinstance(error.__cause__, UnexpectedError):
        return str(error), _FAULT
    if isinstance(error, LaloraError):
        return str(error), _BAD_INPUT
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("lalora"):
        return how_to_install(error.name), _BAD_INPUT
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if is_of_the_disk(error):
            kept = "what was finished is kept: make room or take another folder, and run again"
            return f"{where}{error.strerror}; {kept}", _BAD_INPUT
        if error.filename and error.errno in _OF_A_FILE:
            return f"{where}{error.strerror}", _BAD_INPUT
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own, not imported here
        return f"out of memory ({one_line(error)}): take fewer rows a batch, or a smaller model or rank", _BAD_INPUT
    if (file := imported_in(error)) is not None:
        said = f"{type(error).__name__} in {file}: {one_line(error)}"
        return f"{said}; mend that installation, or the environment variable that it reads", _BAD_INPUT
    return fault(error), _FAULT
