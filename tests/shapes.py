"""What `--jaxtyping-packages` checks calls with: functions that name a shape, and those alone.

mypy checks the other types before anything runs, and what users may get wrong there is refused by lalora itself.
"""

from __future__ import annotations

from typing import Any

from beartype import BeartypeConf, beartype

_CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def checked(function: Any) -> Any:
    named = any("jaxtyping." in repr(annotation) for annotation in function.__annotations__.values())
    return beartype(function, conf=_CONFIGURATION) if named else function
