"""A process in which only what the core installation brings can be imported; the rest looks as if not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def core_distributions() -> set[str]:
    """List lalora and everything that it requires without extras, directly or not."""
    found: set[tuple[str, str]] = set()
    left = [("lalora", "")]
    while left:
        name, extra = left.pop()
        if (name, extra) in found:
            continue
        try:
            required = [Requirement(one) for one in distribution(name).requires or []]
        except PackageNotFoundError:  # of another system or Python
            continue
        found.add((name, extra))
        for one in required:
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                left += [(canonicalize_name(one.name), more) for more in ("", *one.extras)]
    return {name for name, _ in found}


def hide_extras() -> None:
    """Hide every package of other distributions."""
    core = core_distributions()
    hidden = {
        package
        for package, owners in packages_distributions().items()
        if not any(canonicalize_name(owner) in core for owner in owners)
    }

    class CoreOnly:
        find_distributions = PathFinder.find_distributions
        invalidate_caches = PathFinder.invalidate_caches

        @staticmethod
        def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
            return None if name.partition(".")[0] in hidden else PathFinder.find_spec(name, path, target)

    sys.meta_path[:] = [CoreOnly if finder is PathFinder else finder for finder in sys.meta_path]
