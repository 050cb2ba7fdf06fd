"""Progress bars: one style, and none where several processes would overwrite each other's."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_DISABLE = "TQDM_DISABLE"


def progress_bar(what: str, unit: str, steps: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Make a bar on stderr that is gone when it is done: `what` stands before it, it counts in `unit`."""
    return tqdm(steps, desc=what, unit=unit, leave=False, **options)


@contextmanager
def without_bars() -> Generator[None, None, None]:
    """Start processes that show no bars; tqdm looks at this variable when it is imported."""
    before = os.environ.get(_DISABLE)
    os.environ[_DISABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_DISABLE, None)
        else:
            os.environ[_DISABLE] = before
