"""Which settings each method looks at, and what it is called in tables."""

import inspect

from lalora.errors import LaloraError
from lalora.methods import METHODS
from lalora.study.settings import RunSettings

SELF_SOURCE = frozenset({"proxy_length", "proxy_temperature"})
"""Settings of the text that the base model writes itself."""
_PROXY_KNOBS = frozenset({"proxy_rows", "proxy_batch_size", "proxy_text", "proxy_sources"}) | SELF_SOURCE

METHOD_KNOBS = (
    frozenset().union(*(inspect.signature(method).parameters for method in METHODS.values()))
    & set(RunSettings.model_fields) - {"seed"}
) | _PROXY_KNOBS
"""Settings that some methods have and others do not."""


def knobs(method: str) -> frozenset[str]:
    """Name the settings of `METHOD_KNOBS` that change what a method does.

    Args:
        method: Its name.

    Returns:
        The names.

    Raises:
        LaloraError: If there is no such method.
    """
    if method not in METHODS:
        raise LaloraError(f"method '{method}' is unknown: there are {', '.join(METHODS)}")
    own = METHOD_KNOBS & set(inspect.signature(METHODS[method]).parameters)
    return own | _PROXY_KNOBS if METHODS[method].needs_source else own


def takes_laplace(method: str) -> bool:
    """Tell whether a method can start from a Laplace that is fitted already.

    Args:
        method: Its name.

    Returns:
        Whether its runs can share a fit.
    """
    return "laplace" in inspect.signature(METHODS[method]).parameters


def draws(method: str) -> bool:
    """Tell whether a method draws random numbers of its own.

    Args:
        method: Its name.

    Returns:
        Whether it takes a seed.
    """
    return "seed" in inspect.signature(METHODS[method]).parameters


def label(method: str) -> str:
    """Name a method for readers.

    Args:
        method: Its name in recipes.

    Returns:
        Its name in tables and plots.
    """
    return METHODS[method].label
