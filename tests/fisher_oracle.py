"""The Fisher the slow way: float64, one row at a time, plain autograd."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import trainable_tensors
from lalora.fisher._labels import draw
from tiny import Batch


def in_float64(model: PeftModel) -> PeftModel:
    return copy.deepcopy(model).to(torch.float64).eval()


def targets_and_logits(model: nn.Module, row: Batch, number: int, labels: str, seed: int) -> tuple[Tensor, Tensor]:
    logits = model(input_ids=row["input_ids"].unsqueeze(0)).logits[0, :-1]
    shifted = row["labels"][1:]
    kept = shifted != -100
    logits, targets = logits[kept], shifted[kept]
    if labels == "sampled":
        targets = draw(logits.float(), torch.zeros(len(targets), dtype=torch.long), number, seed, "source")
    return logits, targets


def sequence(model: PeftModel, rows: list[Batch], labels: str = "data", seed: int = 0) -> dict[str, Tensor]:
    wide = in_float64(model)
    tensors = trainable_tensors(wide)
    total = {name: torch.zeros_like(parameter) for name, parameter in tensors.items()}
    tokens = 0
    for number, row in enumerate(rows):
        logits, targets = targets_and_logits(wide, row, number, labels, seed)
        loss = F.cross_entropy(logits, targets, reduction="sum")
        gradients = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
        tokens += len(targets)
        for name, gradient in zip(tensors, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
    return {name: value.detach() / tokens for name, value in total.items()}


def batch(model: PeftModel, groups: list[list[Batch]]) -> dict[str, Tensor]:
    wide = in_float64(model)
    tensors = trainable_tensors(wide)
    total = {name: torch.zeros_like(parameter) for name, parameter in tensors.items()}
    for group in groups:
        pairs = [targets_and_logits(wide, row, 0, "data", 0) for row in group]
        loss = F.cross_entropy(torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs]))
        for name, gradient in zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True):
            total[name] += gradient.square()
    return {name: value.detach() / len(groups) for name, value in total.items()}


def token(model: PeftModel, rows: list[Batch], linear: dict[str, nn.Linear]) -> dict[str, Tensor]:
    """Give every position its own copy of a weight: the copy's gradient is that position's outer product."""
    total: dict[str, Tensor] = {}
    tokens = 0
    for row in rows:
        kept = row["labels"][1:] != -100
        tokens += int(kept.sum())
        for name, module in linear.items():
            with own_weight_a_position(module, len(row["input_ids"])) as copies:
                logits = model(input_ids=row["input_ids"].unsqueeze(0)).logits[0, :-1]
                loss = F.cross_entropy(logits[kept], row["labels"][1:][kept], reduction="sum")
                (gradient,) = torch.autograd.grad(loss, copies)
            total[name] = total.get(name, 0) + gradient.square().sum(dim=0)
    return {name: value / tokens for name, value in total.items()}


@contextmanager
def own_weight_a_position(module: nn.Linear, length: int) -> Generator[Tensor, None, None]:
    copies = module.weight.detach().expand(length, -1, -1).clone().requires_grad_()

    def forward(x: Tensor) -> Tensor:
        # DoRA also calls the module on an identity matrix, for a norm that is detached.
        return F.linear(x, module.weight) if x.dim() == 2 else torch.einsum("toi,bti->bto", copies, x)

    module.forward = forward  # type: ignore[method-assign]
    try:
        yield copies
    finally:
        del module.forward
