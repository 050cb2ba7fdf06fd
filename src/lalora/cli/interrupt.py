"""Ctrl-C: one line that says what is kept, and exit status 130."""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager

INTERRUPTED = 130


@contextmanager
def resumable(advice: str) -> Generator[None, None, None]:
    """End Ctrl-C with a line that says what is kept and how to go on, and status 130."""
    try:
        yield
    except KeyboardInterrupt:
        # Whoever presses it again wants no tidying up.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        print(f"\ninterrupted: {advice}", file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)
