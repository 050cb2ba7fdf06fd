"""Hold the model's own predictions on source text: a penalty on KL(base ‖ model) itself, not for a forecast of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from peft import PeftModel
from torch import Tensor, nn
from typing_extensions import Doc

from lalora import processes
from lalora.adapter import peft_model
from lalora.batches import checked, with_completion
from lalora.completion import completion
from lalora.engines import FSDP2
from lalora.errors import LaloraError
from lalora.fisher import Batch
from lalora.methods.base import Method, Sources, Strength
from lalora.next_token import require_next_token
from lalora.options import Count
from lalora.switched_off import why_not_base
from lalora.undisturbed import evaluating, trainability_kept


@dataclass(eq=False)
class KL(Method):
    """Target loss + λ·KL(base ‖ model) in nats per completion token, on one source batch every so many steps.

    The base is the model with its adapter switched off; where that is another one, what the model predicts at its start
    is kept. The batches take turns; each time costs a forward pass of the base and a forward and backward pass of the
    model.

    This is rehearsal with knowledge distillation, as in dark experience replay (Buzzega et al., 2020, arXiv
    2004.07211), which holds logits by a squared distance, those that the model had as it was learning what is kept;
    here they are the base model's, and their divergence is KL. Learning without forgetting (Li and Hoiem, 2016)
    distils on the rows of the new task, and is another method.
    """

    name = "kl"
    label = "KL"
    citation = "Buzzega et al., 2020"
    needs = "source text; two more forward passes and a backward pass each time"
    knob = "strength"
    grid = (0.3, 1.0, 3.0)
    needs_source = True
    engines = (FSDP2,)

    strength: Strength = 1.0
    every: Annotated[
        Count, Doc("Optimizer steps from one source batch to the next, whose weight is then λ·every, so that λ stays.")
    ] = 1

    def __post_init__(self) -> None:
        """Check every option, and know of no batch yet."""
        super().__post_init__()
        self._batches: list[Batch] = []
        self._kept: list[Tensor] = []

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Keep the source batches, those of the sources in turn."""
        adapted = peft_model(model)
        require_next_token(adapted)
        by_source = [_read(adapted, name, batches) for name, batches in sources.items()]
        longest = max((len(batches) for batches in by_source), default=0)
        self._batches = [batches[turn] for turn in range(longest) for batches in by_source if turn < len(batches)]
        if not self._batches:
            raise LaloraError("method 'kl' needs source text: give at least one source")
        if why_not_base(adapted) is not None:
            self._kept = [_at_start(adapted, batch) for batch in self._batches]

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Add the gradient of λ·every·KL where it is time."""
        if self.strength_now == 0 or step % self.every:
            return
        turn = step // self.every % len(self._batches)
        kept = self._kept[turn] if self._kept else None
        penalty = kl_to_base(model, self._batches[turn], kept) * (self.strength_now * self.every * loss_scale)
        penalty.backward()  # type: ignore[no-untyped-call]

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in, the batches included: each adds the same gradient."""
        tensors = [batch[name] for batch in self._batches for name in sorted(batch)]
        return super().facts() | {"source batches": processes.digest(tensors)}


def kl_to_base(model: nn.Module, batch: Batch, kept: Tensor | None = None) -> Tensor:
    """Compute KL(base ‖ model) as it is differentiated, without dropout and without checkpointed activations."""
    adapted = peft_model(model)
    ready = checked(batch, "source text", adapted)
    # Dropout would be penalised as drift.
    with evaluating(adapted):
        if kept is None:
            with torch.no_grad(), trainability_kept(adapted), adapted.disable_adapter():
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
    with torch.no_grad(), evaluating(model):
        return completion(model, checked(batch, "source text", model)).logits.log_softmax(-1).cpu()
