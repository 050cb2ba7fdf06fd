"""What `--jaxtyping-packages` checks calls with: the arguments and results that name a shape, and those alone.

mypy checks the other types before anything runs, and what users may get wrong there is refused by lalora itself.
A module is checked once its name stands in the list of pyproject.toml. beartype knows no `Self` in `tuple[Self, …]`:
write the class by its name there.
"""

from __future__ import annotations

from typing import Any

from beartype import BeartypeConf, beartype

_CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def checked(function: Any) -> Any:
    annotations = {
        name: annotation if "jaxtyping." in repr(annotation) else Any
        for name, annotation in function.__annotations__.items()
    }
    if all(annotation is Any for annotation in annotations.values()):
        return function
    function.__annotations__ = annotations
    return beartype(function, conf=_CONFIGURATION)
