"""A method of one's own that forgot what every method has."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lalora import LaloraError
from lalora.methods import Method
from lalora.methods.compatible import require_methods


def test_a_method_without_a_name_or_a_label_is_refused_in_a_line() -> None:
    @dataclass(eq=False)
    class Nameless(Method):
        pass

    with pytest.raises(LaloraError, match="Nameless has no name: give the class name = '…'"):
        require_methods([Nameless()])

    @dataclass(eq=False)
    class Unlabelled(Method):
        name = "unlabelled"

    with pytest.raises(LaloraError, match="Unlabelled has no label"):
        require_methods([Unlabelled()])
