"""YAML that remembers where each key was written, so that a mistake can be named by file and line.

PyYAML's nodes, not ruamel.yaml: its round-trip loader reads `010` as 10 and `1_6` as 16, drops tags of Python and lists
that hold themselves without a word, and takes twice as long, so that every check below would stand there as well.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from lalora.errors import LaloraError, one_line

Path = tuple[str | int, ...]
_DEEPEST = 20
_MOST_NODES = 20_000


class _Loader(yaml.SafeLoader):
    """Reads numbers as YAML 1.2 does: `1e-3` is one; `010`, `1:30` and `1_000`, which YAML 1.1 converts, are text."""

    yaml_implicit_resolvers = {  # ruff: ignore[mutable-class-default]  # as in the class above
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith((":int", ":float"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
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
        """Find where a path of keys and list positions stands, or the nearest thing around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


COMMAND_LINE = Marked({}, {(): "command line"})
"""The place of what no file says."""


def parse_value(text: str) -> Any:
    """Read one YAML value, such as `[1, 2]`; ValueError if it is none."""
    try:
        return parse(text, "value").value
    except LaloraError as error:
        raise ValueError(str(error)) from error


def parse(text: str, file: str, what: str = "a recipe") -> Marked:
    """Read a YAML document without repeated keys or endless nesting; `file` and `what` name it in messages."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        places: dict[Path, str] = {(): file}
        if root is None:
            return Marked(None, places)
        _mark(root, (), file, places, itertools.count(1), what)
        return Marked(loader.construct_document(root), places)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise LaloraError(f"{file}{line}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise LaloraError(f"{file}: nested too deep for {what}") from error
    # A character that YAML does not allow; a number or date that is none.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, LookupError) as error:
        raise LaloraError(f"{file}: not valid YAML: {one_line(error)}") from error


def _mark(node: yaml.Node, path: Path, file: str, places: dict[Path, str], visited: Iterator[int], what: str) -> None:
    # An alias is gone through again each time it stands for what it names.
    if next(visited) > _MOST_NODES:
        raise LaloraError(f"{file}: more than {_MOST_NODES:,} values, aliases written out, are too many for {what}")
    if isinstance(node, yaml.ScalarNode) and not all(c.isprintable() or c in "\n\t" for c in node.value):
        raise LaloraError(f"{file}, line {node.start_mark.line + 1}: holds a control character, {node.value!r:.60}")
    if len(path) > _DEEPEST:
        raise LaloraError(f"{file}, line {node.start_mark.line + 1}: nested too deep for {what}")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            place = f"{file}, line {key.start_mark.line + 1}"
            if inner in places and key.value != "<<":
                raise LaloraError(f"{place}: '{key.value}' is there twice, first in {places[inner]}")
            places[inner] = place
            _mark(key, inner, file, places, visited, what)
            _mark(value, inner, file, places, visited, what)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            inner = (*path, index)
            places[inner] = f"{file}, line {item.start_mark.line + 1}"
            _mark(item, inner, file, places, visited, what)
