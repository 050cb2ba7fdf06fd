"""What `--jaxtyping-packages` checks calls with: shapes, and those alone.

mypy checks the other types before anything runs, and what users may get wrong there is refused by lalora itself.
"""

from __future__ import annotations

from typing import Any

from beartype import beartype


def checked(function: Any) -> Any:
    # beartype knows `Self` in whole classes only.
    named = {name: "jaxtyping." in str(hint) and "Self" not in str(hint) for name, hint in hints(function).items()}
    if not any(named.values()):
        return function
    function.__annotations__ = {name: hint if named[name] else object for name, hint in hints(function).items()}
    return beartype(function)


def hints(function: Any) -> dict[str, Any]:
    return dict(function.__annotations__)
