"""A wrong shape fails in every module that names shapes; without the tests' hook nothing is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

from hostile.sandbox import Sandbox
from lalora.completion import Completion
from lalora.curvature import Factor
from lalora.softening import _adapter, _krylov, _layers, _low_rank, _naive, _whole
from lalora.softening._pencil import Pencil
from lalora.softening._shrinkage import Shrunk

EYE = Factor(torch.eye(3), torch.ones(3), torch.tensor(3.0))


def zeros(*shape: int) -> Any:
    return torch.zeros(*shape)


def shrunk() -> Shrunk:
    return Shrunk(torch.eye(3), torch.ones(3), 1.0)


def pencil(size: int = 3) -> Pencil:
    return Pencil(torch.ones(size), None, torch.eye(size))


def layer() -> Any:
    return _whole.WholeLayer(pencil(), pencil(2), zeros(3, 2))


WRONG = {
    "completion": lambda: Completion(zeros(4, 7), zeros(4).long(), zeros(3).long()),
    "completion, kind": lambda: Completion(zeros(4, 7), zeros(4), zeros(4).long()),
    "adapter": lambda: _adapter._set(zeros(3), zeros(3, 2), 0),
    "krylov": lambda: _krylov.extended_krylov(shrunk(), shrunk(), zeros(3)),
    "krylov, new": lambda: _krylov._new(zeros(3, 2), zeros(4, 2)),
    "layers": lambda: _layers.Layer(pencil(), pencil(), zeros(3, 2), zeros(3, 4)),
    "layers, pencil": lambda: _layers.pencil(EYE, EYE, zeros(3)),
    "low rank": lambda: _low_rank.softened(zeros(3, 2), zeros(4, 2), torch.ones(3), torch.ones(3), 1.0),
    "low rank, filtered": lambda: _low_rank.filtered(zeros(3, 2), torch.ones(2), torch.ones(3), 1.0),
    "naive": lambda: _naive.minimiser(zeros(3, 2), (torch.eye(2), torch.eye(3)), (torch.eye(3), torch.eye(2)), 1.0),
    "pencil": lambda: Pencil(torch.ones(3), zeros(5, 2), torch.eye(3)),
    "pencil, columns": lambda: pencil().columns(zeros(3)),
    "shrinkage": lambda: Shrunk(torch.eye(3), torch.ones(2), 1.0),
    "shrinkage, times": lambda: shrunk().times(zeros(3)),
    "whole": lambda: _whole.WholeLayer(pencil(), pencil(), zeros(3)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_shape_fails(case: str) -> None:
    with pytest.raises(TypeCheckError):
        WRONG[case]()


def test_right_shapes_pass() -> None:
    Completion(zeros(4, 7), zeros(4).long(), zeros(4).long())
    assert layer().change().shape == (3, 2)
    assert shrunk().times(zeros(3, 2)).shape == (3, 2)


def test_users_pay_for_no_check(sandbox: Sandbox, tmp_path: Path) -> None:
    asked = "import sys, lalora, lalora.softening; print('beartype' in sys.modules, lalora.softening._krylov._new)"
    (tmp_path / "asked.py").write_text(asked)
    found, _ = sandbox.start(tmp_path / "asked.py").communicate()
    assert found.startswith("False <function _new at")
