"""How well a fine-tuned model predicts a text, and how far it has drifted from its base there."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lalora.adapter import lora_layers, peft_model
from lalora.batches import checked
from lalora.completion import Completion, completion
from lalora.errors import LaloraError
from lalora.next_token import require_next_token
from lalora.scoring._rows import RowScores
from lalora.switched_off import why_not_base
from lalora.undisturbed import undisturbed

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

    The model is left unchanged: modes, trainability, random state.
    """
    scores = score_rows(model, batches, base)
    return TextScore(scores.mean_loss, scores.mean_kl, int(scores.tokens.sum()))


def score_rows(
    model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]], base: torch.nn.Module | None = None
) -> RowScores:
    """Score each row of a text as `score_text` does."""
    adapted = peft_model(model)
    require_base(adapted, base)
    found = []
    with both_undisturbed(adapted, base):
        for ready in ready_batches(adapted, batches):
            tuned = completion(adapted, ready)
            found.append(by_row(tuned, of_base(adapted, base, ready), len(ready["input_ids"])))
    return joined(found)


@contextmanager
def both_undisturbed(model: torch.nn.Module, base: torch.nn.Module | None) -> Generator[None, None, None]:
    """Leave a model, and the base that it is compared with, as they were."""
    with undisturbed(model), nullcontext() if base is None else undisturbed(base):
        yield


def require_base(model: torch.nn.Module, base: torch.nn.Module | None) -> None:
    """Refuse a model of which there is no base to compare it with."""
    reason = why_not_base(peft_model(model)) if base is None else None
    if reason is not None:
        raise LaloraError(
            f"with its adapter switched off this model is not its base model, since {reason}: give the base model"
        )
    if base is not None and lora_layers(base):
        raise LaloraError(
            "the base model that is given carries a LoRA adapter, as PEFT puts it into the model that it is given: "
            "load the base model once more"
        )


def of_base(model: torch.nn.Module, base: torch.nn.Module | None, ready: dict[str, Tensor]) -> Tensor:
    """Compute the base's logits for the completion tokens of a batch."""
    if base is None:
        with peft_model(model).disable_adapter():
            return completion(model, ready).logits
    device = next(base.parameters()).device
    return completion(base, {name: tensor.to(device) for name, tensor in ready.items()}).logits


def score_loss(model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> float:
    """Score a text under a model alone, at half the cost of `score_text`.

    The model is left unchanged: modes, trainability, random state.
    """
    total, tokens = 0.0, 0
    with undisturbed(model):
        for ready in ready_batches(model, batches):
            seen = completion(model, ready)
            losses = cross_entropy(seen.logits, seen.targets, reduction="none")
            total += float(losses.cpu().double().sum())
            tokens += len(seen.targets)
    return total / _some(tokens)


def ready_batches(model: torch.nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Check batches one by one."""
    require_next_token(model)
    if isinstance(batches, Mapping):
        raise LaloraError("the text to score is one batch: give an iterable of batches, such as [batch]")
    for number, batch in enumerate(batches, start=1):
        yield checked(batch, f"text to score, batch {number}", model)


def _some(tokens: int) -> int:
    if tokens == 0:
        raise LaloraError("the text to score has no completion tokens: every label is -100")
    return tokens


def by_row(tuned: Completion, base_logits: Tensor, rows: int) -> RowScores:
    """Add up loss and KL of the completion tokens of a batch."""
    sums = torch.zeros(rows, 3, dtype=torch.float64)
    for start in range(0, len(tuned.targets), CHUNK):
        chunk = slice(start, start + CHUNK)
        log_q, here = tuned.logits[chunk].log_softmax(-1), tuned.targets[chunk, None]
        log_p = base_logits[chunk].to(log_q.device).log_softmax(-1)
        p = log_p.exp()
        # The sums of p and q cancel, but with them no term is negative and a rounding error of a normaliser,
        # larger than the KL of a small drift, enters squared.
        kl = (p * (log_p - log_q) - p + log_q.exp()).sum(-1)
        loss = -log_q.gather(-1, here).squeeze(-1)
        per_token = torch.stack([loss, kl, torch.ones_like(kl)], dim=1)
        # To the CPU first: not every accelerator computes in float64.
        sums.index_add_(0, tuned.rows[chunk].cpu(), per_token.cpu().double())
    return RowScores(*sums.unbind(1))


def joined(parts: Sequence[RowScores]) -> RowScores:
    """Put the rows of several batches together."""
    loss, kl, tokens = (
        torch.cat([getattr(part, name) for part in parts] or [torch.zeros(0)]) for name in ("loss", "kl", "tokens")
    )
    _some(int(tokens.sum()))
    return RowScores(loss, kl, tokens)
