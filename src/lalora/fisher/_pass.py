"""One pass of the model over one source dataset, whatever is collected on the way."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.fisher import _batches
from lalora.fisher._labels import draw
from lalora.fisher._untouched import untouched


@dataclass(frozen=True)
class Counts:
    """What was seen of a dataset.

    Attributes:
        rows: Number of sequences.
        tokens: N, number of completion tokens.
        batches: Number of mini-batches with completion tokens.
        sha256: Hash of what the masks show.
    """

    rows: int
    tokens: int
    batches: int
    sha256: str


class Collector(Protocol):
    """Takes what it needs from the forward and backward pass of each batch."""

    parameters: list[nn.Parameter]
    """The only parameters that get a gradient."""
    by_row: bool
    """Whether it needs each row by itself."""

    def listening(self) -> AbstractContextManager[None]:
        """Attach hooks for as long as the context lasts."""
        ...

    def begin(self, mask: Tensor) -> None:
        """Start a batch whose mask (rows, length) is 1 where a position is shown."""
        ...

    def forward_done(self) -> None:
        """The forward pass is over; what runs again in the backward pass is a recomputation."""
        ...

    def end(self, tokens: int) -> None:
        """Close a batch of so many completion tokens, after its backward pass."""
        ...

    def finite(self) -> bool:
        """Tell whether everything collected so far is finite."""
        ...


class Pass:
    """Runs the model over source datasets, forward and backward."""

    def __init__(self, model: nn.Module, labels: str, seed: int, progress: bool) -> None:
        """Choose the labels.

        Args:
            model: A PEFT LoRA model.
            labels: `sampled` or `data`.
            seed: Seed of the sampled labels.
            progress: Whether to show a progress bar.
        """
        self._model = model
        self._labels = labels
        self._seed = seed
        self._progress = progress
        self._device = next(model.parameters()).device

    def over(self, dataset: str, batches: Iterable[_batches.Batch], collector: Collector) -> Counts:
        """Run over a dataset.

        Args:
            dataset: Its name.
            batches: Its batches.
            collector: Takes what it needs.

        Returns:
            What was seen.

        Raises:
            LaloraError: If a batch is unusable, a loss or gradient is not finite, or no completion token was seen.
        """
        content = _batches.ContentHash()
        rows = tokens = count = seen = 0
        # Autocast would take inputs, gradients and their sums to half precision.
        plain = torch.autocast(self._device.type, enabled=False)
        with plain, untouched(self._model, collector.parameters), collector.listening():
            # Made here because a DataLoader draws from the random state, which is brought back at the end.
            bar = tqdm(batches, desc=f"curvature of {dataset}", unit="batch", disable=not self._progress, leave=False)
            for batch in bar:
                seen += 1
                where = f"source '{dataset}', batch {seen}"
                checked = _batches.with_completion(_batches.checked(batch, where, self._device))
                content.add(checked)
                before = tokens
                for part in _batches.rows(checked) if collector.by_row else [checked]:
                    tokens += self._both_ways(collector, part, dataset, rows, where)
                    rows += part["input_ids"].shape[0]
                count += tokens > before
                if not collector.finite():
                    raise LaloraError(f"{where}: a gradient is not finite; check the rows or use a wider dtype")
        if tokens == 0:
            raise LaloraError(f"source '{dataset}' has no completion token: every label is -100 or there is no batch")
        return Counts(rows, tokens, count, content.hexdigest())

    def _both_ways(
        self, collector: Collector, batch: dict[str, Tensor], dataset: str, first_row: int, where: str
    ) -> int:
        tokens = int((batch["labels"][:, 1:] != -100).sum())
        if tokens == 0:
            return 0
        collector.begin(batch["attention_mask"])
        seen = completion(self._model, batch)
        collector.forward_done()
        targets = seen.targets
        if self._labels == "sampled":
            targets = draw(seen.logits, seen.rows, first_row, self._seed, dataset)
        loss = F.cross_entropy(seen.logits, targets, reduction="sum")
        if not torch.isfinite(loss):
            raise LaloraError(f"{where}: the loss is {float(loss.detach())}; check the rows or use a wider dtype")
        loss.backward()  # type: ignore[no-untyped-call]
        collector.end(tokens)
        return tokens


def all_finite(tensors: list[Tensor]) -> bool:
    """Tell whether tensors hold only finite numbers.

    Args:
        tensors: On any devices.

    Returns:
        Whether they do.
    """
    return not tensors or bool(torch.stack([norm.cpu() for norm in torch._foreach_norm(tensors)]).isfinite().all())
