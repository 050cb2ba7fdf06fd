"""Run the model over one source dataset and sum its squared gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from lalora.adapter import linear_pairs, trainable_tensors
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.fisher import _batches
from lalora.fisher._estimators import ESTIMATORS, Estimator
from lalora.fisher._labels import draw
from lalora.fisher._taps import Taps
from lalora.fisher._untouched import untouched


@dataclass(frozen=True)
class SourceFisher:
    """The diagonal Fisher of one source dataset.

    Attributes:
        dataset: Its name.
        precision: Squared gradients by tensor name, scaled to the mean per-token likelihood.
        rows: Number of sequences.
        tokens: N, number of completion tokens.
        batches: Number of mini-batches with completion tokens.
        sha256: Hash of what the masks show.
    """

    dataset: str
    precision: dict[str, Tensor]
    rows: int
    tokens: int
    batches: int
    sha256: str


class DiagonalFisher:
    """Stage I for `diagonal` curvature: linear adapters through hooks, other trainable tensors through autograd."""

    def __init__(self, model: nn.Module, estimator: str, labels: str, seed: int) -> None:
        """Sort the trainable tensors by how their gradient is had.

        Args:
            model: A PEFT LoRA model.
            estimator: `sequence`, `token` or `batch`.
            labels: `sampled` or `data`.
            seed: Seed of the sampled labels.
        """
        tensors = trainable_tensors(model)
        self._model = model
        self._estimator = estimator
        self._labels = labels
        self._seed = seed
        self._device = next(model.parameters()).device
        self._modules: dict[str, nn.Module] = {}
        linear = set()
        for pair in linear_pairs(model):
            linear |= {pair.a, pair.b} & set(tensors)
            if pair.b in tensors:
                self._modules[pair.b] = pair.up
            # At B = 0 the gradient of A is exactly zero.
            if pair.a in tensors and bool(pair.up.weight.any()):
                self._modules[pair.a] = pair.down
        self._others = {name: parameter for name, parameter in tensors.items() if name not in linear}

    def of(self, dataset: str, batches: Iterable[_batches.Batch], progress: bool) -> SourceFisher:
        """Sum over a dataset.

        Args:
            dataset: Its name.
            batches: Its batches.
            progress: Whether to show a progress bar.

        Returns:
            The Fisher, with what was counted.

        Raises:
            LaloraError: If a batch is unusable, a loss or gradient is not finite, or no completion token was seen.
        """
        estimator = ESTIMATORS[self._estimator]()
        taps = Taps(self._modules, estimator.linear)
        content = _batches.ContentHash()
        rows = tokens = count = seen = 0
        with untouched(self._model, list(self._others.values())), taps.listening():
            for batch in tqdm(batches, desc=f"curvature of {dataset}", unit="batch", disable=not progress, leave=False):
                seen += 1
                where = f"source '{dataset}', batch {seen}"
                checked = _batches.checked(batch, where, self._device)
                content.add(checked)
                whole = not self._others or self._estimator == "batch"
                before = tokens
                for part in [checked] if whole else _batches.rows(checked):
                    tokens += self._add(estimator, taps, part, dataset, rows, where)
                    rows += part["input_ids"].shape[0]
                count += tokens > before
                if not _finite(list(estimator.total.values())):
                    raise LaloraError(f"{where}: a gradient is not finite; check the rows or use a wider dtype")
        if tokens == 0:
            raise LaloraError(f"source '{dataset}' has no completion token: every label is -100 or there is no batch")
        scale = 1.0 / (count if self._estimator == "batch" else tokens)
        precision = {name: total.mul_(scale) for name, total in estimator.total.items()}
        return SourceFisher(dataset, precision, rows, tokens, count, content.hexdigest())

    def _add(
        self,
        estimator: Estimator,
        taps: Taps,
        batch: dict[str, Tensor],
        dataset: str,
        first_row: int,
        where: str,
    ) -> int:
        taps.begin(batch["attention_mask"])
        tokens = int((batch["labels"][:, 1:] != -100).sum())
        if tokens == 0:
            return 0
        seen = completion(self._model, batch)
        targets = seen.targets
        if self._labels == "sampled":
            targets = draw(seen.logits, seen.rows, first_row, self._seed, dataset)
        loss = F.cross_entropy(seen.logits, targets, reduction="sum")
        if not torch.isfinite(loss):
            raise LaloraError(f"{where}: the loss is {float(loss.detach())}; check the rows or use a wider dtype")
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in self._others.items():
            if parameter.grad is not None:
                wide = torch.promote_types(parameter.dtype, torch.float32)
                estimator.tensor(name, parameter.grad.to(wide))
                parameter.grad = None
        estimator.end_batch(tokens)
        return tokens


def _finite(tensors: list[Tensor]) -> bool:
    return not tensors or bool(torch.stack([norm.cpu() for norm in torch._foreach_norm(tensors)]).isfinite().all())
