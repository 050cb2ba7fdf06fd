"""Run the command line and end it well."""

import errno
import os
import sys

from lalora.cli.several import is_main, one_voice
from lalora.errors import LaloraError, is_known_to_all

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
_INTERRUPTED = 130


def main() -> None:
    """Run the command line; what a user can act on ends in one line and exit status 2, Ctrl-C in status 130.

    Raises:
        OSError: If it has nothing to do with room or permission.
        ModuleNotFoundError: If it is not one of those that the extra `lab` brings.
    """
    # Read when torch is imported. By default its threads spin while they wait for each other, and as soon as anything
    # else runs on the same cores everything takes many times as long; a short spin costs little either way.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        with one_voice():
            # Here and not above: without the extra, the user gets a line that names it.
            from lalora.cli.app import app

            app(prog_name="lalora")
    except LaloraError as error:
        _fail(str(error), error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lalora"):
            raise
        _fail(f"'{error.name}' is not installed: pip install 'lalora[lab]'", error)
    except KeyboardInterrupt:
        # While modules are imported; commands look after themselves.
        print("\ninterrupted: run the same command again", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        kept = "what was finished is kept: make room or take another folder, and run again"
        _fail(f"{where}{error.strerror}; {kept}", error)


def _fail(message: str, error: Exception) -> None:
    if is_main() or not is_known_to_all(error):
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
