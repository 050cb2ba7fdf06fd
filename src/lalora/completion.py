"""Logits of a causal language model at the positions that predict completion tokens."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lalora.adapter import base_model
from lalora.errors import LaloraError, one_line


@dataclass(frozen=True)
class Completion:
    """The K completion tokens of a batch, row after row.

    Attributes:
        logits: What the model predicts for each of them, float32 or wider.
        targets: The tokens themselves.
        rows: The row of the batch that each belongs to.
    """

    logits: Float[Tensor, "K vocabulary"]
    targets: Int[Tensor, " K"]
    rows: Int[Tensor, " K"]


def completion(model: nn.Module, batch: Mapping[str, Tensor], every_position: bool = False) -> Completion:
    """Run the model over a batch and return its logits for the completion tokens.

    The token at position t is predicted from position t-1. Where the architecture takes `logits_to_keep`,
    no other logits are computed.
    """
    shown = batch["attention_mask"] != 0
    # With left padding the first visible token has a padding position before it, which predicts nothing.
    is_completion = (batch["labels"][:, 1:] != -100) & shown[:, 1:] & shown[:, :-1]
    positions = is_completion.any(dim=0).nonzero().squeeze(1)
    inputs = {key: value for key, value in batch.items() if key != "labels"} | {"use_cache": False}
    if keeps_logits(model) and not every_position:
        selected = _logits(model, {**inputs, "logits_to_keep": positions})[is_completion[:, positions]]
    else:
        selected = _logits(model, inputs)[:, :-1][is_completion]
    wide = torch.promote_types(selected.dtype, torch.float32)
    rows = is_completion.nonzero()[:, 0]
    return Completion(selected.to(wide), batch["labels"][:, 1:][is_completion], rows)


def _logits(model: nn.Module, inputs: Mapping[str, Any]) -> Float[Tensor, "rows positions vocabulary"]:
    try:
        logits: Tensor = model(**inputs).logits
    except (IndexError, KeyError, TypeError, ValueError) as error:  # more tokens than positions, images that do not fit
        given = sorted(set(inputs) - {"use_cache", "logits_to_keep"})
        raise LaloraError(
            f"{type(base_model(model)).__name__} cannot take rows of {inputs['input_ids'].shape[1]} tokens with "
            f"{', '.join(given)}: {one_line(error, 200)}"
        ) from error
    return logits


def keeps_logits(model: nn.Module) -> bool:
    """Tell whether the architecture can compute logits at chosen positions only: its forward takes `logits_to_keep`."""
    return "logits_to_keep" in inspect.signature(base_model(model).forward).parameters
