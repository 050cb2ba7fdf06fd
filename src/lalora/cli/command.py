"""Run the command line and end it well."""

import errno
import sys

from lalora.errors import LaloraError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def main() -> None:
    """Run the command line; what a user can act on ends in one line and exit status 2.

    Raises:
        OSError: If it has nothing to do with room or permission.
        ModuleNotFoundError: If it is not one of those that the extra `lab` brings.
    """
    try:
        # Here and not above: without the extra, the user gets a line that names it.
        from lalora.cli.app import app

        app(prog_name="lalora")
    except LaloraError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lalora"):
            raise
        _fail(f"'{error.name}' is not installed: pip install 'lalora[lab]'")
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror}; what was finished is kept: make room or take another folder, and run again")


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
