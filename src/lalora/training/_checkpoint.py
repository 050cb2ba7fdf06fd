"""What a checkpoint of a penalised run holds, so that a resumed one goes on with the very same penalty."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from lalora.errors import LaloraError, one_line
from lalora.files import parse_json, read_small, write_atomically
from lalora.laplace import Laplace

_LAPLACE = "laplace"
_STRENGTH = "strength.json"


def save(laplace: Laplace, model: nn.Module, strength: float, checkpoint: Path) -> None:
    """Write the Laplace of the model's adapter and the strength beside a checkpoint.

    Args:
        laplace: What is charged with; one of a base model is written as it met this adapter.
        model: The PEFT model.
        strength: λ.
        checkpoint: Folder of the checkpoint, made where missing.
    """
    folder = checkpoint / _LAPLACE
    laplace.of_adapter(model).save(folder)
    write_atomically(folder / _STRENGTH, json.dumps({"strength": strength}).encode())


def load(given: Laplace, model: nn.Module, strength: float, checkpoint: Path) -> Laplace:
    """Read what a run that is resumed charged with.

    A new fit on a new random A is another Laplace than that of the checkpoint, which brings its own A back.

    Args:
        given: The Laplace that this process was started with.
        model: The PEFT model, the checkpoint's adapter in it.
        strength: λ that this process was started with.
        checkpoint: Folder of the checkpoint.

    Returns:
        The Laplace to go on with.

    Raises:
        LaloraError: If the checkpoint holds none, or one of another curvature, model or strength.
    """
    folder = checkpoint / _LAPLACE
    if not folder.is_dir():
        raise LaloraError(
            f"{checkpoint} holds no Laplace, and whether the one given here is that of its run cannot be told: resume "
            "from a checkpoint that a lalora Trainer wrote, or start anew"
        )
    kept = Laplace.load(folder)
    kept.check(model)
    try:
        before = float(parse_json(read_small(folder / _STRENGTH))["strength"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaloraError(f"{folder / _STRENGTH} is damaged ({one_line(error)}): resume from another one") from error
    if before != strength:
        raise LaloraError(
            f"{checkpoint} was trained with strength {before:g}, not {strength:g}: give the same to resume"
        )
    ours, theirs = given.provenance.fit.curvature, kept.provenance.fit.curvature
    if ours != theirs:
        raise LaloraError(f"{checkpoint} was trained with curvature '{theirs}', not '{ours}': give the same to resume")
    return kept
