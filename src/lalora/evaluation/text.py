"""How well a fine-tuned model predicts a text, and how far it has drifted from its base there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lalora.adapter import peft_model
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.evaluation._undisturbed import undisturbed

# Tokens whose log-probabilities over the whole vocabulary exist at the same time: few enough for a processor's cache.
CHUNK = 16


@dataclass(frozen=True)
class TextScore:
    """Means over the completion tokens of a text, in nats per token.

    Attributes:
        loss: Negative log-likelihood under the fine-tuned model.
        kl: KL(base ‖ model) of the next-token distributions.
        tokens: How many completion tokens there were.
    """

    loss: float
    kl: float
    tokens: int


def score_text(model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> TextScore:
    """Score a text under a model with and without its adapter, on the same positions.

    The model leaves as it came: modes, trainability, random state.

    Args:
        model: A PEFT model; its base is the same model with the adapter switched off.
        batches: Dicts of `input_ids`, `attention_mask` and unshifted `labels`, each (rows, length). For a text without
            prompt the labels are the visible `input_ids`.

    Returns:
        Loss and KL per completion token.

    Raises:
        LaloraError: If there is no completion token in any batch.
    """
    adapted = peft_model(model)
    device = next(adapted.parameters()).device
    sums = torch.zeros(2, dtype=torch.float64)
    tokens = 0
    with undisturbed(adapted):
        for batch in batches:
            moved = {name: tensor.to(device) for name, tensor in batch.items()}
            tuned = completion(adapted, moved)
            with adapted.disable_adapter():
                base = completion(adapted, moved)
            sums += _sums(tuned.logits, base.logits, tuned.targets)
            tokens += len(tuned.targets)
    loss, kl = (sums / _some(tokens)).tolist()
    return TextScore(loss, kl, tokens)


def score_loss(model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> float:
    """Score a text under a model alone, at half the cost of `score_text`.

    The model leaves as it came: modes, trainability, random state.

    Args:
        model: A causal language model, with or without an adapter.
        batches: As for `score_text`.

    Returns:
        Negative log-likelihood in nats per completion token.

    Raises:
        LaloraError: If there is no completion token in any batch.
    """
    device = next(model.parameters()).device
    total, tokens = 0.0, 0
    with undisturbed(model):
        for batch in batches:
            seen = completion(model, {name: tensor.to(device) for name, tensor in batch.items()})
            losses = cross_entropy(seen.logits, seen.targets, reduction="none")
            total += float(losses.cpu().double().sum())
            tokens += len(seen.targets)
    return total / _some(tokens)


def _some(tokens: int) -> int:
    if tokens == 0:
        raise LaloraError("the text to score has no completion tokens: every label is -100")
    return tokens


def _sums(logits: Tensor, base_logits: Tensor, targets: Tensor) -> Tensor:
    total = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(targets), CHUNK):
        chunk = slice(start, start + CHUNK)
        log_q, log_p, here = logits[chunk].log_softmax(-1), base_logits[chunk].log_softmax(-1), targets[chunk, None]
        p = log_p.exp()
        # The sums of p and q cancel, but with them no term is negative and a rounding error of a normaliser,
        # larger than the KL of a small drift, enters squared.
        kl = (p * (log_p - log_q) - p + log_q.exp()).sum(-1)
        per_token = torch.stack([-log_q.gather(-1, here).squeeze(-1), kl])
        # To the CPU first: not every accelerator computes in float64.
        total += per_token.cpu().double().sum(-1)
    return total
