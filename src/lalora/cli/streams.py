"""Streams that take any character, whatever their encoding: nothing that is said is lost."""

import codecs
import io
import os
import sys

_HANDLER = "lalora"
_SPELLED = {
    "‖": "||", "–": "-", "—": "-", "…": "...", "·": "*", "½": "1/2", "²": "^2", "≥": ">=", "≤": "<=", "×": "x",
    "→": "->", "±": "+/-", "−": "-", "≈": "~", "√": "sqrt", "λ": "lambda", "Λ": "Lambda", "Δ": "Delta",
    "δ": "delta", "μ": "mu", "θ": "theta", "α": "alpha", "σ": "sigma", "ρ": "rho", "ε": "epsilon", "ᵀ": "^T",
    "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def accept_any_character() -> None:
    """Spell out what stdout and stderr cannot encode, and write to nothing where they are closed."""
    codecs.register_error(_HANDLER, _spelled)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # ruff: ignore[open-file-with-context-handler]
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    spelled = "".join(_SPELLED.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lost)
    return spelled, error.end
