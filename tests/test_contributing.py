"""Every file that CONTRIBUTING.md sends a reader to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_where_to_change_what_names_files_that_exist() -> None:
    rows = re.findall(
        r"^\| .* \| `(.+?\.py)` \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) == 55
    assert not [file for file in rows if not (ROOT / "src" / "lalora" / file).is_file()]


def test_the_architecture_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {name.split(":")[0] for name in re.findall(r"`([a-z_/]+\.py)(?::\w+)?`", text)}
    known = [path.relative_to(ROOT / "src" / "lalora").as_posix() for path in (ROOT / "src" / "lalora").rglob("*.py")]
    assert named
    assert not [name for name in named if not any(path == name or path.endswith(f"/{name}") for path in known)]
