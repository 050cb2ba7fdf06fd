"""Forwards that never call the adapter's modules, as fused kernels: the penalty is right, a fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from transformers import Trainer, TrainingArguments

import lalora
from lalora import LaloraError, LaplaceCallback, LaplaceTrainer
from lalora.adapter import snapshot, trainable_tensors
from tiny import batches, collate, lora, rows, shake

Arguments = Callable[..., TrainingArguments]
SOURCE = {"arc": batches(rows(6), 2)}
DATA: dict[str, Any] = {"train_dataset": rows(4, seed=5), "data_collator": collate}


def patched(model: Any) -> Any:
    """Let attention and MLP compute W₀x + s·BAx themselves, as Unsloth's LoRA_QKV and LoRA_MLP and axolotl's do."""

    def reading(layer: Any) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            return F.linear(x, layer.base_layer.weight) + layer.scaling["default"] * F.linear(F.linear(x, a), b)

        return forward

    def around(block: Any, readings: dict[str, Callable[[Tensor], Tensor]]) -> Callable[..., Any]:
        own = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            vars(block).update(readings)  # found before the modules of the same names
            try:
                return own(*args, **kwargs)
            finally:
                for name in readings:
                    del vars(block)[name]

        return forward

    for block in list(model.modules()):
        layers = {name: layer for name, layer in block.named_children() if isinstance(layer, LoraLinear)}
        if layers:
            block.forward = around(block, {name: reading(layer) for name, layer in layers.items()})
        for layer in layers.values():
            layer.register_forward_pre_hook(lambda *_: pytest.fail("a module of the adapter was called"))
    return model


def by_callback(model: Any, args: TrainingArguments, laplace: Any) -> Trainer:
    return Trainer(model=model, args=args, callbacks=[LaplaceCallback(laplace, 3.0)], **DATA)


def by_mixin(model: Any, args: TrainingArguments, laplace: Any) -> Trainer:
    return LaplaceTrainer(model=model, args=args, laplace=laplace, strength=3.0, **DATA)


@pytest.mark.filterwarnings("ignore:the adapter is not where this Laplace was fitted")
@pytest.mark.parametrize("build", [by_callback, by_mixin])
@pytest.mark.parametrize("curvature", ["diagonal", "kfac", "weight-kfac"])
def test_the_penalty_beside_a_fused_forward(curvature: str, build: Any, arguments: Arguments) -> None:
    """One step of SGD is the gradient of target loss and penalty, which autograd knows of an unpatched twin."""
    model, twin = lora(b_scale=0.3, dtype=torch.float64), lora(b_scale=0.3, dtype=torch.float64)
    laplace = lalora.fit(model, SOURCE, curvature=curvature, progress=False)
    for each in (model, twin):
        shake(each)
    (twin(**collate(DATA["train_dataset"])).loss + laplace.penalty(twin, 3.0)).backward()
    size = torch.stack([parameter.grad.norm() for parameter in trainable_tensors(twin).values()]).norm()
    before = snapshot(model)
    args = arguments(
        max_steps=1, max_grad_norm=0.0, optim="sgd", learning_rate=1e-2, per_device_train_batch_size=4,
        lr_scheduler_type="constant",
    )  # fmt: skip
    build(patched(model), args, laplace).train()
    for name, tensor in snapshot(model).items():
        expected = trainable_tensors(twin)[name].grad
        assert torch.allclose((before[name] - tensor) / 1e-2, expected, rtol=0, atol=float(size) * 1e-9), name
    # The penalty is a part of it that would be missed.
    part = torch.autograd.grad(
        laplace.penalty(twin, 3.0), [trainable_tensors(twin)[n] for n in laplace.curvature.names]
    )
    assert torch.stack([gradient.norm() for gradient in part]).norm() > size / 100


@pytest.mark.parametrize("curvature", ["kfac", "tri-kfac", "weight-kfac", "weight-diagonal"])
def test_a_fit_that_would_hear_nothing_is_refused(curvature: str) -> None:
    message = r"no row of source 'arc' reaches module .*, nor any other of the adapter: .* fit on the plain PEFT model"
    with pytest.raises(LaloraError, match=message):
        lalora.fit(patched(lora()), SOURCE, curvature=curvature, progress=False)


def test_the_diagonal_is_read_off_autograd() -> None:
    plain, fused = lora(b_scale=0.3), patched(lora(b_scale=0.3))
    of_plain, of_fused = (
        lalora.fit(model, SOURCE, progress=False, curvature="diagonal").curvature.tensors() for model in (plain, fused)
    )
    for name, tensor in of_plain.items():
        assert (of_fused[name] - tensor).norm() <= 1e-5 * tensor.norm(), name


def test_softening_is_refused_as_well() -> None:
    with pytest.raises(LaloraError, match="fit on the plain PEFT model first"):
        lalora.soften(patched(lora(b_scale=0.3)), batches(rows(4, seed=5), 2), source=SOURCE, progress=False)
