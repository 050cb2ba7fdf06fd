"""What pydantic says of a mistake, in one line of ours."""

import re
from collections.abc import Mapping
from typing import Any

from lalora.errors import short


def complaint(error: Mapping[str, Any]) -> str:
    """Put one of `ValidationError.errors()` in one line."""
    if not error["loc"]:  # of settings that do not go together
        return str(error["ctx"]["error"])
    # A union's members are told by names of pydantic's own, such as `constrained-float`.
    key = ".".join(str(part) for part in error["loc"] if not re.search(r"[^\w]", str(part)))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if error["type"] == "missing":
        return f"'{key}' is missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    message = message.removeprefix("value error, ")
    joint = ", which " if message.startswith("is ") else ": "
    return f"'{key}' is {short(repr(error['input']))}{joint}{message}"
