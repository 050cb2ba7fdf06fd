"""The site's files: docs/, and what it links to elsewhere in the repository, at a place of its own in the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")


def on_files(files: Any, config: Any) -> Any:
    """Add README.md as the first page, the results, and every other file that a page links to."""
    pages = [*_PAGES, *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md")))]
    pages += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "results").rglob("*.md"))]
    linked = {target for page in pages for target in _targets(page)}
    for name in sorted({*pages, *linked}):
        path, place = ROOT / name, _place(name)
        if files.get_file_from_path(place) is not None:
            continue
        if path.is_dir():
            names = [f"- [{file.name}]({file.name})" for file in sorted(path.iterdir()) if file.is_file()]
            files.append(File.generated(config, place, content="\n".join([f"# {name}", "", *names, ""])))
            linked_here = [file for file in sorted(path.iterdir()) if file.is_file()]
        else:
            linked_here = [path]
        for file in linked_here:
            there = _place(file.relative_to(ROOT).as_posix())
            if files.get_file_from_path(there) is None:
                files.append(File.generated(config, there, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links at where their files are in the site."""
    name = _name(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri) or "."

    def moved(match: re.Match[str]) -> str:
        target = _target(name, match[2])
        return match[0] if target is None else match[1] + posixpath.relpath(_place(target), here) + match[3]

    return _LINK.sub(moved, markdown)


def _target(page: str, link: str) -> str | None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return target if not target.startswith("..") and (ROOT / target).exists() else None


def _targets(page: str) -> list[str]:
    found = (_target(page, link) for _, link, _ in _LINK.findall((ROOT / page).read_text(encoding="utf-8")))
    return [target for target in found if target is not None]


def _place(name: str) -> str:
    """The place in the site of a file of the repository; of a folder, its page."""
    if name == "README.md":
        return "index.md"
    if (ROOT / name).is_dir():
        return f"{name}/README.md"
    return name.removeprefix("docs/")


def _name(place: str) -> str:
    if place == "index.md":
        return "README.md"
    return f"docs/{place}" if (ROOT / "docs" / place).exists() else place
