"""Weights on the loss of rows, whatever computes the loss: the gradient at the logits of a row is multiplied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lalora.adapter import base_model, peft_model
from lalora.errors import LaloraError

Row = Mapping[str, Sequence[int]]


class RowWeights:
    """Multiplies what each row of a training batch adds to the gradient; rows are known by their visible tokens.

    The loss that is reported stays without weights. Until weights are set nothing is changed.
    """

    def __init__(self, model: nn.Module) -> None:
        """Listen to a model's batches and logits."""
        self._weights: dict[tuple[int, ...], float] = {}
        self._of_batch: Tensor | None = None
        adapted, base = peft_model(model), base_model(model)
        head: nn.Module | None = base.get_output_embeddings()  # type: ignore[operator]
        if head is None:
            raise LaloraError(f"{type(base).__name__} names no output embeddings, so its rows cannot be weighed")
        adapted.register_forward_pre_hook(self._on_batch, with_kwargs=True)
        adapted.register_forward_hook(self._after_batch)
        head.register_forward_hook(self._on_logits)

    def set(self, weighed: Sequence[tuple[float, Sequence[Row]]]) -> None:
        """Give rows their weights, each with rows that have it; of equal rows the last one counts."""
        self._weights = {visible(row): weight for weight, rows in weighed for row in rows}

    def _on_batch(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._of_batch = None
        if not (self._weights and model.training and torch.is_grad_enabled()):
            return
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask = kwargs.get("attention_mask")
        shown = torch.ones_like(ids).bool() if mask is None else mask.bool()
        found = [self._weights.get(tuple(row[seen].tolist())) for row, seen in zip(ids.cpu(), shown.cpu(), strict=True)]
        if None in found:
            raise LaloraError(
                "a batch holds a row that is none of those that were weighed: turn packing off and cut rows before "
                "training, or leave 'weigh' out"
            )
        self._of_batch = torch.tensor(found)

    def _on_logits(self, head: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        if self._of_batch is not None and logits.requires_grad:
            weights = self._of_batch.to(logits.device, logits.dtype).view(-1, *[1] * (logits.dim() - 1))
            logits.register_hook(lambda gradient: gradient * weights)  # type: ignore[no-untyped-call]
            self._of_batch = None

    def _after_batch(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._of_batch is not None:
            raise LaloraError("the model computes its loss without its output layer, so its rows cannot be weighed")


def visible(row: Row) -> tuple[int, ...]:
    """Take the tokens of a row that its mask shows."""
    return tuple(_shown(row, "input_ids"))


def completion_tokens(row: Row) -> int:
    """Count the tokens of a row that its loss is over: the first one is predicted from nothing."""
    return sum(label != -100 for label in _shown(row, "labels")[1:])


def _shown(row: Row, column: str) -> list[int]:
    values, mask = (_plain(row[name]) if name in row else None for name in (column, "attention_mask"))
    assert values is not None
    return values if mask is None else [value for value, seen in zip(values, mask, strict=True) if seen]


def _plain(values: Any) -> list[int]:
    return values.tolist() if isinstance(values, Tensor) else list(values)
