"""Several methods in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from lalora.errors import LaloraError
from lalora.files import parse_json, read_small, write_atomically
from lalora.methods.base import Method, Row, Sources
from lalora.methods.compatible import require_compatible

_METHODS = "methods.json"
_MAY_CHANGE = ("refit_every", "refit_decay")
"""Options that a resumed run may have otherwise."""


class InTurn:
    """The methods of a run, which act in turn on the same model and the same gradient, so that their penalties add.

    They act by their `turn`, and those of one turn as they are written: a replaced start comes before what is measured
    from it, noisy weights are put back before a penalty looks at the model, and a mask comes after all penalties.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        """Choose the methods of a run.

        Args:
            methods: None of them prepared.

        Raises:
            LaloraError: If they make no sense together.
        """
        require_compatible([type(method) for method in methods])
        self.as_written = tuple(methods)
        self.name = "+".join(method.name for method in methods)
        self._methods = sorted(methods, key=lambda method: method.turn)

    def __iter__(self) -> Iterator[Method]:
        """Go through them in turn."""
        return iter(self._methods)

    @property
    def own_start(self) -> bool:
        """Whether the run starts from another adapter than plain LoRA does."""
        return any(method.own_start for method in self)

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Let all get ready."""
        for method in self:
            method.prepare(model, sources)

    def training_rows(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Let each choose among what the one before chose."""
        chosen = list(rows)
        for method in self:
            chosen = method.training_rows(chosen, seed)
        return chosen

    def before_forward(self, model: nn.Module, step: int, steps: int) -> None:
        """Let all change the model before the first micro-batch of a step."""
        for method in self:
            method.before_forward(model, step, steps)

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Let all change the gradients of a step."""
        for method in self:
            method.after_backward(model, step, loss_scale)

    def abort_step(self, model: nn.Module) -> None:
        """Let all take back what belongs to a step that an error ends."""
        for method in self:
            method.abort_step(model)

    def after_step(self, model: nn.Module) -> None:
        """Let all change the model after a step."""
        for method in self:
            method.after_step(model)

    def after_training(self, model: PeftModel) -> None:
        """Let all change the finished adapter."""
        for method in self:
            method.after_training(model)

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Measure what they add to the log: the penalties, and whatever else has a name, add up."""
        found: dict[str, float] = {}
        for method in self:
            for name, value in method.metrics(model).items():
                found[name] = found.get(name, 0.0) + value
        return found

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in."""
        found: dict[str, object] = {"method": self.name}
        for method in self:
            for name, value in method.facts().items():
                found[name if len(self._methods) == 1 else f"{method.name}.{name}"] = value
        return found

    def save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write the finished adapter for the untouched base model."""
        first = next((method for method in self if method.own_start), self._methods[0])
        first.save_adapter(model, folder)

    def save(self, model: nn.Module, checkpoint: Path) -> None:
        """Keep in a checkpoint which methods these are, and what they would not find again."""
        checkpoint.mkdir(parents=True, exist_ok=True)
        write_atomically(checkpoint / _METHODS, json.dumps(self._chosen()).encode())
        for method in self:
            method.save(model, checkpoint / method.name)

    def load(self, model: nn.Module, checkpoint: Path) -> None:
        """Read what `save` kept, and refuse the checkpoint of another run."""
        path = checkpoint / _METHODS
        if not path.is_file():
            raise LaloraError(
                f"{checkpoint} does not say of which methods its run was, and so whether it can go on with "
                f"'{self.name}': resume from a checkpoint that a lalora Trainer wrote, or start anew"
            )
        try:
            before = parse_json(read_small(path))
            names = "+".join(before)
            differing = [
                (name, value, now)
                for method, chosen in self._chosen().items()
                for name, now in chosen.items()
                if names == self.name and (value := before[method].get(name)) != now and name not in _MAY_CHANGE
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LaloraError(f"{path} is damaged: resume from another checkpoint") from error
        if names != self.name:
            raise LaloraError(f"{checkpoint} was trained by '{names}', not '{self.name}': give the same to resume")
        for name, value, now in differing:
            raise LaloraError(
                f"{checkpoint} was trained with {name} {_shown(value)}, not {_shown(now)}: give the same to resume"
            )
        for method in self:
            method.load(model, checkpoint / method.name)

    def _chosen(self) -> dict[str, dict[str, Any]]:
        return {method.name: method.chosen for method in self.as_written}


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | int) and not isinstance(value, bool) else repr(value)
