"""A few steps without labels from the trained adapter: its own predictions on the target, the base's on the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import linear_pairs
from lalora.batches import Batch, with_completion
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.laplace import require_integer, require_non_negative
from lalora.softening._adapter import held_at
from lalora.undisturbed import evaluating, gradients_set_aside, random_state_kept, trainability_kept

LEARNING_RATE = 2e-3
"""What was measured, on an adapter that was trained at it."""
_CLIPPED_TO = 1.0


def refine(
    model: PeftModel,
    target: Mapping[str, Sequence[Batch]],
    source: Mapping[str, Sequence[Batch]],
    steps: int,
    strength: float = 1.0,
    learning_rate: float = LEARNING_RATE,
) -> None:
    """Train the active adapter on KL(trained ‖ model) over target rows + λ·KL(base ‖ model) over source rows.

    Each step takes the next batch of each side. AdamW, the learning rate falls linearly to zero. What training with a
    penalty on KL would have held, a trained adapter learns afterwards, from text alone.
    """
    require_integer("refine_steps", steps, 0)
    require_non_negative("refine_strength", strength)
    require_non_negative("refine_rate", learning_rate)
    ours, theirs = in_turn(target), in_turn(source)
    if not ours or not theirs:
        raise LaloraError(
            "refining takes target rows and source rows with completion tokens: give source=, not a Laplace"
        )
    weights = [weight for pair in linear_pairs(model) for weight in (pair.up.weight, pair.down.weight)]
    trained = [weight.detach().clone() for weight in weights]
    with random_state_kept(model), trainability_kept(model), evaluating(model), gradients_set_aside(weights):
        model.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for step in range(steps):
            own, other = ours[step % len(ours)], theirs[step % len(theirs)]
            with torch.no_grad():
                with held_at(weights, trained):
                    before = _log_probabilities(model, own)
                with held_at(weights, [torch.zeros_like(weight) for weight in weights]):
                    base = _log_probabilities(model, other)
            # One after the other: the activations of both need not be held at the same time.
            torch.autograd.backward(_divergence(before, _log_probabilities(model, own)))
            torch.autograd.backward(strength * _divergence(base, _log_probabilities(model, other)))
            nn.utils.clip_grad_norm_(weights, _CLIPPED_TO)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def in_turn(named: Mapping[str, Sequence[Batch]]) -> list[Batch]:
    """Lay out batches of several texts, one of each in turn, without rows that have no completion token."""
    kept = [[with_completion(batch) for batch in batches] for batches in named.values()]
    kept = [[batch for batch in batches if len(batch["input_ids"])] for batches in kept]
    longest = max(map(len, kept), default=0)
    return [batches[turn] for turn in range(longest) for batches in kept if turn < len(batches)]


def _log_probabilities(model: PeftModel, batch: Batch) -> Tensor:
    return completion(model, dict(batch)).logits.log_softmax(-1)


def _divergence(known: Tensor, found: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(found, known, reduction="batchmean", log_target=True)
