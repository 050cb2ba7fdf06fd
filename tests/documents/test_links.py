"""Every relative link of README.md and docs/ leads to a file, and to a heading where it names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from documents.pages import PAGES, ROOT, without_blocks

LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """The names that headings have on a page: lower case, no punctuation, a hyphen a space."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    found = []
    for link in LINK.findall(without_blocks(text)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if ROOT / "results" in (target, *target.parents) and not (ROOT / "results").exists():
            continue  # the source distribution has no results
        if not target.exists() or (heading and target.suffix == ".md" and heading not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert not broken(page, page.read_text(encoding="utf-8"))


def test_a_link_to_nothing_is_found() -> None:
    text = "[a](docs/no-such.md) [b](docs/method.md#no-such) [c](docs/method.md) [d](https://example.org) `[e](f)`"
    assert broken(ROOT / "README.md", text) == ["docs/no-such.md", "docs/method.md#no-such"]
