"""How well a fine-tuned model predicts a text, and how far it has drifted from its base there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lalora.adapter import lora_layers, peft_model
from lalora.batches import checked
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.evaluation._undisturbed import undisturbed
from lalora.next_token import require_next_token
from lalora.switched_off import why_not_base

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


def score_text(
    model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]], base: torch.nn.Module | None = None
) -> TextScore:
    """Score a text under a model and its base, on the same positions.

    The model leaves as it came: modes, trainability, random state.

    Args:
        model: A PEFT model.
        batches: Dicts of `input_ids`, `attention_mask` and unshifted `labels`, each (rows, length). For a text without
            prompt the labels are the visible `input_ids`.
        base: The base model, which is needed where the adapter's start or its training changed base weights; elsewhere
            the same model with the adapter switched off serves.

    Returns:
        Loss and KL per completion token.

    Raises:
        LaloraError: If there is no completion token in any batch, a batch is unusable, the model does not predict the
            next token, switching the adapter off does not give the base model, or `base` carries an adapter itself.
    """
    adapted = peft_model(model)
    reason = why_not_base(adapted) if base is None else None
    if reason is not None:
        raise LaloraError(
            f"with its adapter switched off this model is not its base model, since {reason}: give the base model"
        )
    if base is not None and lora_layers(base):
        raise LaloraError(
            "the base model that is given carries a LoRA adapter, as PEFT puts it into the model that it is given: "
            "load the base model once more"
        )
    sums = torch.zeros(2, dtype=torch.float64)
    tokens = 0
    with undisturbed(adapted), nullcontext() if base is None else undisturbed(base):
        for ready in _ready(adapted, batches):
            tuned = completion(adapted, ready)
            if base is None:
                with adapted.disable_adapter():
                    before = completion(adapted, ready)
            else:
                device = next(base.parameters()).device
                before = completion(base, {name: tensor.to(device) for name, tensor in ready.items()})
            sums += _sums(tuned.logits, before.logits.to(tuned.logits.device), tuned.targets)
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
        LaloraError: If there is no completion token in any batch, a batch is unusable, or the model does not predict
            the next token.
    """
    total, tokens = 0.0, 0
    with undisturbed(model):
        for ready in _ready(model, batches):
            seen = completion(model, ready)
            losses = cross_entropy(seen.logits, seen.targets, reduction="none")
            total += float(losses.cpu().double().sum())
            tokens += len(seen.targets)
    return total / _some(tokens)


def _ready(model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    require_next_token(model)
    if isinstance(batches, Mapping):
        raise LaloraError("the text to score is one batch: give an iterable of batches, such as [batch]")
    for number, batch in enumerate(batches, start=1):
        yield checked(batch, f"text to score, batch {number}", model)


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
