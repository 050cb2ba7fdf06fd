"""What is not in the core installation: which extra brings a package, said in one line where it is missing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from lalora.errors import LaloraError

EXTRAS = {
    "lab": (
        "attr",
        "datasets",
        "filelock",
        "fsspec",
        "gguf",
        "jinja2",
        "lm_eval",
        "matplotlib",
        "pandas",
        "platformdirs",
        "pyarrow",
        "regex",
        "rich",
        "scipy",
        "typer",
        "yaml",
        "zstandard",
    ),
    "ray": ("ray",),
}
"""Packages that an extra declares and the core does not, by the names that Python imports."""


class MissingPackageError(LaloraError, ModuleNotFoundError):
    """A package that only an extra brings is not installed."""


@contextmanager
def named_if_missing(what: str = "") -> Generator[None, None, None]:
    """Turn the failed import of a package that is not lalora's own into one line that says how to install it.

    Args:
        what: What needs the package, such as the name of a file.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingPackageError) or not error.name or error.name.split(".")[0] == "lalora":
            raise
        place = f"{what}: " if what else ""
        raise MissingPackageError(f"{place}{how_to_install(error.name)}", name=error.name) from error


def how_to_install(module: str) -> str:
    """Say in one line how to install the package of a module that is missing."""
    package = module.split(".")[0]
    extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
    # Double quotes are understood by every shell, that of Windows too.
    wanted = package if extra is None else f'"lalora[{extra}]"'
    return f"'{module}' is not installed: pip install {wanted}"
