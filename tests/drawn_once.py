"""What is drawn of a made-up study, drawn once for all tests that look at it: a drawing takes seconds."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Generator
from typing import Any

import pytest

from lalora.report import Findings, drawing
from lalora.report.pictures import Picture
from lalora.results import parse


def files_of(results: dict[str, Any]) -> dict[str, bytes]:
    """Returns every file of a report by its name."""
    return _files(json.dumps(results))


def page_with_pictures(results: dict[str, Any]) -> bytes:
    """Returns the page alone: its pictures are drawn, those of the files beside it are not."""
    return _page(json.dumps(results))


@contextlib.contextmanager
def no_files_of_pictures() -> Generator[None, None, None]:
    """Within, PNG and PDF files are empty; pictures on pages are as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "saved", lambda _: Picture(b"", b""))
        yield


@functools.cache
def _files(results: str) -> dict[str, bytes]:
    return drawing.drawn(Findings(parse(json.loads(results))))


@functools.cache
def _page(results: str) -> bytes:
    with no_files_of_pictures():
        return _files.__wrapped__(results)["report.html"]
