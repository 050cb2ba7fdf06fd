"""Hold the model's own predictions on source text: a charge for KL(base ‖ model) itself, not for a forecast of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import peft_model
from lalora.batches import checked, with_completion
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.laplace import require_non_negative
from lalora.methods.base import Method
from lalora.next_token import require_next_token
from lalora.switched_off import why_not_base


class KL(Method):
    """Target loss + λ·KL(base ‖ model) in nats per completion token, on one proxy batch every so many steps.

    The base is the model with its adapter switched off; where that is another one, what the model predicts at its start
    is kept. The batches take turns; each time costs a forward pass of the
    base and a forward and backward pass of the model (learning without forgetting, Li and Hoiem, 2016).
    """

    name = "kl"
    label = "KL"
    citation = "Li and Hoiem, 2016"
    needs = "source text; two more forward passes and a backward pass each time"
    knob = "strength"
    grid = (0.3, 1.0, 3.0)
    needs_source = True

    def __init__(self, strength: float = 1.0, *, every: int = 1) -> None:
        """Choose the strength.

        Args:
            strength: λ ≥ 0, in nats of target loss per nat of drift.
            every: Optimizer steps from one proxy batch to the next; its weight is λ·every, so that on average,
                before clipping, λ keeps its meaning.

        Raises:
            LaloraError: If the strength is negative or not finite, or `every` is below 1.
        """
        require_non_negative("strength", strength)
        if every < 1:
            raise LaloraError(f"every must be 1 or more, not {every}")
        self.strength = strength
        self.every = every
        self._step = 0
        self._batches: list[Batch] = []
        self._kept: list[Tensor] = []

    def prepare(self, model: nn.Module, proxies: Mapping[str, Iterable[Batch]]) -> None:
        """Keep the proxy batches, those of the sources in turn.

        Args:
            model: The PEFT model at its start.
            proxies: Batches of surrogate source text by dataset.

        Raises:
            LaloraError: If the model does not predict the next token, a batch is unusable, or none has a completion.
        """
        adapted = peft_model(model)
        require_next_token(adapted)
        by_source = [_read(adapted, name, batches) for name, batches in proxies.items()]
        longest = max((len(batches) for batches in by_source), default=0)
        self._batches = [batches[turn] for turn in range(longest) for batches in by_source if turn < len(batches)]
        if not self._batches:
            raise LaloraError("method 'kl' needs source text: name at least one source domain")
        if why_not_base(adapted) is not None:
            self._kept = [_at_start(adapted, batch) for batch in self._batches]

    def begin_step(self, model: nn.Module, step: int) -> None:
        """Remember which step this is.

        Args:
            model: The PEFT model.
            step: Optimizer steps done so far.
        """
        self._step = step

    def after_backward(self, model: nn.Module, loss_scale: float) -> None:
        """Add the gradient of λ·every·KL where it is time.

        Args:
            model: The PEFT model.
            loss_scale: Factor that the gradients carry.
        """
        if self.strength == 0 or self._step % self.every:
            return
        turn = self._step // self.every % len(self._batches)
        kept = self._kept[turn] if self._kept else None
        charge = drift(model, self._batches[turn], kept) * (self.strength * self.every * loss_scale)
        charge.backward()  # type: ignore[no-untyped-call]


def drift(model: nn.Module, batch: Batch, kept: Tensor | None = None) -> Tensor:
    """Compute KL(base ‖ model) as it is differentiated, without dropout and without checkpointed activations.

    Args:
        model: A PEFT model.
        batch: `input_ids`, `attention_mask` and unshifted `labels`, each (rows, length).
        kept: Log-probabilities of the base on the completion tokens, (K, vocabulary); None to switch the adapter off.

    Returns:
        Nats per completion token, a scalar.
    """
    adapted = peft_model(model)
    ready = checked(batch, "source text", adapted)
    # Dropout would be charged for as drift.
    with _evaluating(adapted):
        if kept is None:
            with torch.no_grad(), _trainable_as_before(adapted), adapted.disable_adapter():
                base = completion(adapted, ready).logits.log_softmax(-1)
        tuned = completion(adapted, ready).logits.log_softmax(-1)
    target = base if kept is None else kept.to(tuned.device)
    return torch.nn.functional.kl_div(tuned, target, reduction="batchmean", log_target=True)


def _read(model: PeftModel, name: str, batches: Iterable[Batch]) -> list[Batch]:
    read: list[Batch] = []
    for number, batch in enumerate(batches, start=1):
        rows = with_completion(checked(batch, f"source '{name}', batch {number}", model))
        # The KL of no token is no number.
        read += [{key: value.cpu() for key, value in rows.items()}] if len(rows["input_ids"]) else []
    return read


def _at_start(model: PeftModel, batch: Batch) -> Tensor:
    with torch.no_grad(), _evaluating(model):
        return completion(model, checked(batch, "source text", model)).logits.log_softmax(-1).cpu()


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None, None, None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _trainable_as_before(model: nn.Module) -> Generator[None, None, None]:
    # PEFT makes a whole adapter trainable when it switches it on again, frozen parts included.
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
