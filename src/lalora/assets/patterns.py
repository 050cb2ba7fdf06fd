"""Module patterns from files of others, matched so that no regular expression can hang the machine."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import regex

from lalora.errors import LaloraError

_LITERAL = re.compile(r"(?:[A-Za-z0-9_.\-]|\\\.)*")
_LONGEST = 4096
_SECONDS = 2.0
_LEAST_SECONDS = 1e-3


def without_patterns(settings: Mapping[str, Any], modules: Sequence[str], where: str) -> dict[str, Any]:
    """Replace the regular expressions of an adapter's settings by the names of the modules that they match.

    Names and suffixes of names stay as they are: PEFT takes them literally. Anything else is matched here under a time
    limit, and PEFT gets the names.
    """
    plain = dict(settings)
    for key in ("target_modules", "exclude_modules"):
        pattern = plain.get(key)
        if isinstance(pattern, str) and not (key == "target_modules" and pattern == "all-linear"):
            plain[key] = _matched(pattern, modules, f"{where}: {key}")
    for key in ("rank_pattern", "alpha_pattern"):
        if plain.get(key):
            plain[key] = _by_name(plain[key], modules, f"{where}: {key}")
    layers = plain.get("layers_pattern")
    for pattern in layers if isinstance(layers, list) else [layers]:
        if pattern is not None and not _is_literal(pattern):
            raise LaloraError(f"{where}: layers_pattern must be the name of a module, not {shown(pattern)}")
    return plain


def _by_name(values: Any, modules: Sequence[str], where: str) -> dict[str, Any]:
    # PEFT takes the first key that matches a name or its end, after a dot.
    if not isinstance(values, Mapping):
        raise LaloraError(f"{where} must map names of modules to numbers, not {shown(values)}")
    if all(map(_is_literal, values)):
        return dict(values)
    found: dict[str, Any] = {}
    for key, value in values.items():
        for name in _matched(f"(?:.*\\.)?(?:{key})" if isinstance(key, str) else key, modules, where):
            found.setdefault(name, value)
    return found


def _matched(pattern: Any, modules: Sequence[str], where: str) -> list[str]:
    if not isinstance(pattern, str) or len(pattern) > _LONGEST:
        raise LaloraError(f"{where}: a pattern is a text of at most {_LONGEST} characters, not {shown(pattern)}")
    try:
        compiled, deadline = regex.compile(pattern), time.monotonic() + _SECONDS
        return [
            name
            for name in modules
            if compiled.fullmatch(name, timeout=max(deadline - time.monotonic(), _LEAST_SECONDS))
        ]
    except (regex.error, RecursionError, OverflowError) as error:
        raise LaloraError(f"{where}: {shown(pattern)} is no regular expression") from error
    except TimeoutError as error:
        raise LaloraError(
            f"{where}: {shown(pattern)} takes too long to match; list the names of the modules instead"
        ) from error


def _is_literal(pattern: Any) -> bool:
    return isinstance(pattern, str) and _LITERAL.fullmatch(pattern) is not None


def shown(value: Any) -> str:
    """Show a value of anybody's in a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
