"""YAML that remembers where each key was written, so that a mistake can be named by file and line."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from lalora.errors import LaloraError

Path = tuple[str | int, ...]
_DEEPEST = 20


class _Loader(yaml.SafeLoader):
    """Reads `1e-3` as a number, as YAML 1.2 does; PyYAML on its own wants `1.0e-3`."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@dataclass
class Marked:
    """Plain values and the place of each.

    Attributes:
        value: What the YAML says, in plain Python types.
        places: Where a key or list item stands, such as `study.yaml, line 7`, by its path from the root.
    """

    value: Any
    places: dict[Path, str]

    def place(self, path: Path) -> str:
        """Find where something stands.

        Args:
            path: Keys and list positions from the root.

        Returns:
            The place of the path, or of the nearest thing around it.
        """
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def parse_value(text: str) -> Any:
    """Read one YAML value.

    Args:
        text: A value as it would stand after a key, such as `[1, 2]`.

    Returns:
        The value in plain Python types.

    Raises:
        ValueError: If it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError("not a YAML value") from error


def parse(text: str, file: str) -> Marked:
    """Read a YAML document.

    Args:
        text: The document.
        file: What to call it in messages.

    Returns:
        Its values and where each was written.

    Raises:
        LaloraError: If it is no YAML, holds a key twice, or is nested without end.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        places: dict[Path, str] = {(): file}
        if root is None:
            return Marked(None, places)
        _mark(root, (), file, places)
        return Marked(loader.construct_document(root), places)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise LaloraError(f"{file}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise LaloraError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _mark(node: yaml.Node, path: Path, file: str, places: dict[Path, str]) -> None:
    if len(path) > _DEEPEST:
        raise LaloraError(f"{file}, line {node.start_mark.line + 1}: nested too deep for a recipe")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            place = f"{file}, line {key.start_mark.line + 1}"
            if inner in places and key.value != "<<":
                raise LaloraError(f"{place}: '{key.value}' is there twice, first in {places[inner]}")
            places[inner] = place
            _mark(value, inner, file, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            inner = (*path, index)
            places[inner] = f"{file}, line {item.start_mark.line + 1}"
            _mark(item, inner, file, places)
