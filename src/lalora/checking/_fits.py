"""Small fits of every kind, tried on a few rows: what is refused, and what is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lalora.adapter import has_adapter
from lalora.errors import LaloraError, one_line
from lalora.laplace import copy_with_adapter, fit
from lalora.undisturbed import random_state_kept

_RANK = 2
_LIBRARIES = {"peft", "torch", "transformers"}


@dataclass(frozen=True)
class Fit:
    """A fit that was tried.

    Attributes:
        what: The curvatures that it stands for.
        refused: Why it is refused; empty where it works.
        notes: What it warns of.
    """

    what: str
    refused: str
    notes: tuple[str, ...]


def tried_fits(
    model: nn.Module, target_modules: str | Sequence[str], batches: Sequence[Mapping[str, Tensor]]
) -> list[Fit]:
    """Fit what is collected in different ways; curvatures that are made of the same stand for each other.

    A base model is fitted with a fresh adapter on a copy of its modules, which shares its tensors.
    """
    own = has_adapter(model)

    def fitted(start: nn.Module, **how: Any) -> None:
        fit(start, {"drawn rows": batches}, progress=False, **how)

    def of_adapter(curvature: str) -> None:
        if own:
            fitted(model, curvature=curvature)
            return
        with random_state_kept(model), copy_with_adapter(model, target_modules, _RANK) as adapted:
            fitted(adapted, curvature=curvature)

    ways: dict[str, Callable[[], None]] = {
        "diagonal": lambda: of_adapter("diagonal"),
        "kfac, tri-kfac": lambda: of_adapter("kfac"),
        "weight-kfac, weight-diagonal": lambda: of_adapter("weight-kfac"),
    }
    if not own:
        ways["weight-… of the base model"] = lambda: fitted(
            model, curvature="weight-kfac", target_modules=target_modules
        )
    return [_tried(what, way) for what, way in ways.items()]


def _tried(what: str, way: Callable[[], None]) -> Fit:
    refused = ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            way()
        except LaloraError as error:
            refused = one_line(error)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a layer of others raises
            refused = f"{type(error).__name__}: {one_line(error)}"
    notes = {
        one_line(one.message)
        for one in said
        if isinstance(one.message, UserWarning) and _LIBRARIES.isdisjoint(Path(one.filename).parts)
    }
    return Fit(what, refused, tuple(sorted(notes)))
