"""One pass of the model over one source dataset, whatever is collected on the way."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from accelerate.utils import extract_model_from_parallel
from jaxtyping import Float, Int
from torch import Tensor, nn

from lalora import batches as door
from lalora import processes
from lalora.adapter import base_model
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.fisher._batches import ContentHash
from lalora.fisher._dataset import Dataset
from lalora.fisher._labels import draw
from lalora.fisher._part import Part
from lalora.fisher._untouched import untouched
from lalora.next_token import require_next_token
from lalora.progress import progress_bar

# Powers of two above it are not finite in float32.
_MOST = 126


class Collector(Protocol):
    """Takes what it needs from the forward and backward pass of each batch."""

    parameters: list[nn.Parameter]
    """The only parameters that get a gradient."""

    @property
    def by_row(self) -> bool:
        """Whether it needs each row by itself."""
        ...

    @property
    def modules(self) -> Collection[nn.Module]:
        """The modules that it listens to."""
        ...

    def listening(self) -> AbstractContextManager[None]:
        """Attach hooks for as long as the context lasts."""
        ...

    def begin(self, mask: Tensor) -> None:
        """Start a batch whose mask (rows, length) is 1 where a position is shown."""
        ...

    def forward_done(self, scale: float) -> None:
        """The forward pass is over: gradients come multiplied by the scale, and what runs again is a recomputation."""
        ...

    def end(self, tokens: int) -> bool:
        """Close a batch of so many completion tokens after its backward pass; tell whether it must be seen again."""
        ...

    def finite(self) -> bool:
        """Tell whether everything collected so far is finite."""
        ...

    def add_up(self, device: torch.device) -> None:
        """Add what other processes collected; what only they have goes to the device."""
        ...


class Pass:
    """Runs the model over source datasets, forward and backward."""

    def __init__(self, model: nn.Module, labels: str, seed: int, progress: bool) -> None:
        """Take the model, and how labels come about: `sampled` or `data`."""
        # A parallel wrapper would talk to the other processes in every batch, and they may have fewer of them.
        self._model = extract_model_from_parallel(model, keep_torch_compile=False)
        self._labels = labels
        self._seed = seed
        self._progress = progress
        self._device = next(model.parameters()).device
        head = getattr(base_model(model), "get_output_embeddings", lambda: None)()
        self._head: set[nn.Module] = set() if head is None else set(head.modules())

    def over(self, dataset: str, batches: Iterable[door.Batch], collector: Collector) -> Dataset:
        """Run over a dataset.

        With several processes each runs over its own part, which may be empty, and all end with the same sums.
        """
        several = processes.world_size() > 1
        if several:
            processes.require_alike(
                dataset, f"source '{dataset}' meets another source in another process: give all the same names in order"
            )
            processes.require_alike(
                processes.digest(p for p in self._model.parameters() if p.requires_grad),
                "the trainable tensors differ between processes: set the same seed in all before making the adapter",
            )
        shares = processes.run_on_all_ranks(lambda: self._own_part(dataset, batches, collector))
        seen = Dataset.added_up(shares)
        if seen.tokens == 0:
            raise LaloraError(f"source '{dataset}' has no completion token: every label is -100 or there is no batch")
        if several:
            collector.add_up(self._device)
            if not collector.finite():
                raise LaloraError(f"source '{dataset}': the sum over processes is not finite; use a wider dtype")
        return seen

    def _own_part(self, dataset: str, batches: Iterable[door.Batch], collector: Collector) -> Dataset:
        require_next_token(self._model)
        # Rows that this process alone knows are numbered from zero, and two must not get the same random numbers.
        first, stream = 0, f"{dataset} in process {processes.rank()}" if processes.world_size() > 1 else dataset
        if isinstance(batches, Part):
            first, stream = batches.first_row, dataset
        content = ContentHash()
        rows = tokens = count = seen = 0
        # Autocast would take inputs, gradients and their sums to half precision.
        plain = torch.autocast(self._device.type, enabled=False)
        with plain, untouched(self._model, collector.parameters), collector.listening():
            # Made here because a DataLoader draws from the random state, which is brought back at the end.
            bar = progress_bar(f"curvature of {dataset}", "batch", batches, disable=not self._progress)
            left = iter(bar)
            try:
                for batch in left:
                    seen += 1
                    where = f"source '{dataset}', batch {seen}"
                    checked = door.with_completion(door.checked(batch, where, self._model))
                    content.add(checked)
                    before = tokens
                    tokens += self._seen_by(collector, checked, stream, first + rows, where)
                    rows += checked["input_ids"].shape[0]
                    count += tokens > before
                    if not collector.finite():
                        raise LaloraError(f"{where}: a gradient is not finite; check the rows or use a wider dtype")
            except Exception:
                processes.drain(left)
                raise
        return Dataset(dataset, rows, tokens, count, content.hexdigest())

    def _seen_by(self, collector: Collector, batch: dict[str, Tensor], stream: str, first_row: int, where: str) -> int:
        parts = list(door.rows(batch)) if collector.by_row else [batch]
        tokens = 0
        for number, part in enumerate(parts):
            tokens += self._both_ways(collector, part, stream, first_row + number, where)
        return tokens

    def _both_ways(
        self, collector: Collector, batch: dict[str, Tensor], stream: str, first_row: int, where: str
    ) -> int:
        tokens = int((batch["labels"][:, 1:] != -100).sum())
        if tokens == 0:
            return 0
        collector.begin(batch["attention_mask"])
        try:
            seen = completion(self._model, batch, every_position=not self._head.isdisjoint(collector.modules))
        except LaloraError as error:
            raise LaloraError(f"{where}: {error}") from error
        targets = seen.targets
        if self._labels == "sampled":
            targets = draw(seen.logits, seen.rows, first_row, self._seed, stream)
        loss, gradient = loss_and_gradient(seen.logits.detach(), targets)
        if not math.isfinite(loss):
            raise LaloraError(f"{where}: the loss is {loss}; check the rows or use a wider dtype")
        scale = _scale(gradient)
        collector.forward_done(scale)
        if seen.logits.requires_grad:  # where nothing that is listened to is reached, that is told by name
            seen.logits.backward(gradient * scale)  # type: ignore[no-untyped-call]
        if collector.end(tokens):
            return self._seen_by(collector, batch, stream, first_row, where)
        return tokens


def loss_and_gradient(
    logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, " n"]
) -> tuple[float, Float[Tensor, "n vocabulary"]]:
    """Compute Σℓ and its gradient at the logits, to full precision even where the model is sure of a token."""
    log_p = logits.log_softmax(dim=-1)
    loss = -float(log_p.gather(1, targets.unsqueeze(1)).sum())
    gradient = log_p.exp_()
    # p − 1 would round to zero what the other entries add up to.
    gradient.scatter_(1, targets.unsqueeze(1), 0.0)
    return loss, gradient.scatter_(1, targets.unsqueeze(1), -gradient.sum(dim=1, keepdim=True))


def _scale(gradient: Tensor) -> float:
    # Where the model is sure of every token, gradients are too small for half precision: a power of two brings them up
    # to where those of unsure tokens are, and is divided out without rounding.
    largest = float(gradient.abs().max())
    return 2.0 ** min(-math.frexp(largest)[1], _MOST) if largest > 0 else 1.0


def all_finite(tensors: list[Tensor]) -> bool:
    """Tell whether tensors hold only finite numbers."""
    return not tensors or bool(torch.stack([norm.cpu() for norm in torch._foreach_norm(tensors)]).isfinite().all())
