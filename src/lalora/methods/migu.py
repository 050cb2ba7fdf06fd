"""MIGU (Du et al., 2024, arXiv 2406.17245): update the rows whose outputs are large."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from typing_extensions import Doc

from lalora import processes
from lalora.adapter import linear_pairs, peft_model
from lalora.methods.base import Method, Sources
from lalora.options import BelowOne, OneOf


@dataclass(eq=False)
class Migu(Method):
    """Trains, in each step, only the rows of A and of B whose output is large on the step's own batch.

    Rows whose magnitude is below the quantile t of their module's magnitudes are masked in that step. A and B are
    modules of their own, each judged by its own output; magnitudes count the positions of all micro-batches and
    processes; rows at the quantile train, so that B, whose output is zero everywhere in the first step, trains whole in
    that step. The two variants differ in the rest.

    `frozen` is how the description reads. The magnitude of row i is Σ |hᵢ|/‖h‖₁ over the positions that the attention
    mask shows. A masked row does not move at all, neither by Adam's momentum nor by weight decay.

    `official` follows the authors' published code (github.com/wenyudu/MIGU, commit 3f3b9f0: the hooks in
    `src/uie_trainer_lora.py`, the masks in `src/accelerate_local.py`). The magnitude is the plain sum Σ |hᵢ| over every
    position, padding included. Only the gradient is masked, so that momentum and weight decay still move masked rows.
    That code masks from the second task on; here pre-training was the first. Its masks for LoRA do not run as
    published, since they wait for a method of another name: this is the rule of its full fine-tuning, by the outputs of
    A and B that its hooks for LoRA collect. Magnitudes are summed in float32 at least, there in the model's precision.
    """

    name = "migu"
    label = "MIGU"
    citation = "Du et al., 2024"
    needs = "outputs of A and B looked at in each step"
    knob = "threshold"
    grid = (0.5, 0.7, 0.9)

    # The gradients of penalties are masked too.
    turn = 1

    threshold: Annotated[BelowOne, Doc("Of the rows of A and B, those that are masked; 0 is plain LoRA.")] = 0.7
    variant: Annotated[
        str,
        OneOf(("frozen", "official")),
        Doc("frozen: masked rows do not move at all. official: as in the authors' code, the gradient alone is masked."),
    ] = "frozen"

    def __post_init__(self) -> None:
        """Check every option, and hear of no output yet."""
        super().__post_init__()
        self._modules: dict[str, nn.Linear] = {}
        self._magnitudes: dict[str, Tensor] = {}
        self._frozen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._shown: Tensor | None = None

    def prepare(self, model: nn.Module, sources: Sources) -> None:
        """Listen to the outputs of every A and B."""
        adapted = peft_model(model)
        adapted.register_forward_pre_hook(self._on_batch, with_kwargs=True)
        for pair in linear_pairs(adapted):
            self._modules |= {pair.a: pair.down, pair.b: pair.up}
        for name, module in self._modules.items():
            module.register_forward_hook(partial(self._on_output, name))

    @torch.no_grad()
    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        """Mask the gradients of rows with small outputs; where these are frozen, remember where they stand."""
        self._frozen = []
        if processes.world_size() > 1:
            # Each process saw other rows, and all have to mask the same.
            self._magnitudes = processes.all_reduce_named(self._magnitudes, next(model.parameters()).device)
        for name, magnitude in self._magnitudes.items():
            weight = self._modules[name].weight
            masked = magnitude < magnitude.quantile(self.threshold)
            if weight.grad is not None and bool(masked.any()):
                weight.grad[masked] = 0.0
                if self.variant == "frozen":
                    self._frozen.append((weight, masked, weight[masked].clone()))
        self._magnitudes = {}

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Put frozen rows back to where they stood."""
        for weight, masked, before in self._frozen:
            weight[masked] = before

    def _on_batch(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        self._shown = None if mask is None else mask.bool()

    @torch.no_grad()
    def _on_output(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not (module.training and output.requires_grad):
            return
        size = output.detach().abs().to(torch.promote_types(output.dtype, torch.float32))
        if self.variant == "frozen":
            size = self._shares(size)
        total = size.reshape(-1, size.shape[-1]).sum(dim=0)
        self._magnitudes[name] = self._magnitudes[name] + total if name in self._magnitudes else total

    def _shares(self, size: Tensor) -> Tensor:
        shares = size / size.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
        if self._shown is not None and self._shown.shape == shares.shape[:-1]:
            return shares[self._shown.to(shares.device)]
        return shares
