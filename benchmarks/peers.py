"""Other ways to fit a curvature: a loop of squared gradients, curvlinops and laplace-torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from setting import Batch, Setting
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from lalora.completion import completion


def peers(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return the peers by name; those that cannot be imported or run raise when called."""
    return {
        "loop of squared gradients, by batch": partial(squares, setting, by_row=False),
        "loop of squared gradients, by row": partial(squares, setting, by_row=True),
        "curvlinops KFAC of A and B": partial(curvlinops_kfac, setting),
        "laplace-torch diag (EF) of A and B": partial(laplace_torch, setting, "diag"),
        "laplace-torch kron (EF) of A and B": partial(laplace_torch, setting, "kron"),
        "laplace-torch diag (GGN, its default)": partial(laplace_torch_default, setting),
    }


def squares(setting: Setting, by_row: bool) -> dict[str, Tensor]:
    """Add up squared gradients of each batch, as the paper does, or of each row by itself."""
    trained = {name: p for name, p in setting.model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    for batch in setting.batches:
        rows = range(len(batch["input_ids"]))
        for part in [{key: value[[row]] for key, value in batch.items()} for row in rows] if by_row else [batch]:
            seen = completion(setting.model, part)
            loss = cross_entropy(seen.logits, seen.targets, reduction="sum" if by_row else "mean")
            for name, gradient in zip(total, torch.autograd.grad(loss, list(trained.values())), strict=True):
                total[name] += gradient.square()
    return total


class CompletionLogits(nn.Module):
    """Gives the logits of the completion tokens alone, (tokens, vocabulary)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return completion(self.model, batch).logits


def curvlinops_kfac(setting: Setting) -> object:
    """Collect dense X and G of the linear modules A and B from sampled labels; it decomposes nothing."""
    from curvlinops import KFACLinearOperator

    shift = [(batch, batch["labels"][:, 1:][batch["labels"][:, 1:] != -100]) for batch in setting.batches]
    operator = KFACLinearOperator(
        CompletionLogits(setting.model),
        nn.CrossEntropyLoss(reduction="sum"),
        [parameter for parameter in setting.model.parameters() if parameter.requires_grad],
        shift,
        check_deterministic=False,
        num_per_example_loss_terms=1,
        batch_size_fn=lambda batch: len(batch["input_ids"]),
    )
    operator.compute_kronecker_factors()
    return operator


class PlainLogits(nn.Module):
    """Takes tokens (rows, length), gives logits (rows, vocabulary, length − 1) as `CrossEntropyLoss` wants them.

    Rows are padded at the right, where causal attention needs no mask; `vmap` could not take one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, use_cache=False).logits[:, :-1].transpose(1, 2).float()


def laplace_torch(setting: Setting, structure: str) -> object:
    """Fit the empirical Fisher of laplace-torch over all trainable tensors."""
    from laplace.curvature.curvlinops import CurvlinopsEF

    import laplace

    longest = max(batch["input_ids"].shape[1] for batch in setting.batches)
    rows: list[tuple[Tensor, Tensor]] = []
    for batch in setting.batches:
        room = (0, longest - batch["input_ids"].shape[1])
        ids = nn.functional.pad(batch["input_ids"], room)
        labels = nn.functional.pad(batch["labels"], room, value=-100)[:, 1:]
        rows += zip(ids, labels, strict=True)
    fitted = laplace.Laplace(
        PlainLogits(setting.model),
        "classification",
        subset_of_weights="all",
        hessian_structure=structure,
        backend=CurvlinopsEF,
    )
    fitted.fit(DataLoader(rows, batch_size=len(setting.batches[0]["input_ids"])))
    return fitted


def laplace_torch_default(setting: Setting) -> object:
    """Say how much memory the GGN, the default of laplace-torch, would take."""
    import laplace  # ruff: ignore[unused-import]

    batch = setting.batches[0]
    outputs = batch["input_ids"].numel() * setting.model.config.vocab_size
    weights = sum(parameter.numel() for parameter in setting.model.parameters() if parameter.requires_grad)
    raise MemoryError(
        f"it takes the Jacobian of each logit by each weight, {outputs * weights * 4 / 2**30:,.1f} GiB for one batch "
        "before what autograd keeps for it"
    )
