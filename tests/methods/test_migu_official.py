"""MIGU as its authors' code has it, against that rule in a training loop written out; and several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from hostile.sandbox import Sandbox
from lalora import LaloraError, methods
from lalora.adapter import snapshot, trainable_tensors
from tiny import batches, lora, rows

STEPS = [batches(rows(4, seed=step), 2) for step in range(5)]
OPTIMIZER = {"lr": 0.05, "weight_decay": 0.3}


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())


def by_the_rule(model: PeftModel, threshold: float) -> dict[str, Tensor]:
    """Sums of |output| over all positions of a step; gradients of rows below the quantile are multiplied by zero."""
    layers = {
        name: module for name, module in model.named_modules() if name.endswith(("lora_A.default", "lora_B.default"))
    }
    sums: dict[str, Tensor] = {}

    def collect(name: str) -> None:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            summed = output.detach().reshape(-1, output.shape[-1]).abs().sum(dim=0)
            sums[name] = sums[name] + summed if name in sums else summed

        layers[name].register_forward_hook(hook)

    for name in layers:
        collect(name)
    optimizer = torch.optim.AdamW([layer.weight for layer in layers.values()], **OPTIMIZER)
    for step in STEPS:
        sums.clear()
        for batch in step:
            loss_of(model, batch).backward()
        for name, layer in layers.items():
            kept = (sums[name] >= torch.quantile(sums[name], threshold)).double()
            layer.weight.grad *= kept.unsqueeze(-1)
        optimizer.step()
        optimizer.zero_grad()
    return snapshot(model)


def by_the_method(model: PeftModel, threshold: float, variant: str) -> dict[str, Tensor]:
    method = methods.build("migu", threshold=threshold, variant=variant)
    method.prepare(model, {})
    optimizer = torch.optim.AdamW(trainable_tensors(model).values(), **OPTIMIZER)
    for number, step in enumerate(STEPS):
        for batch in step:
            loss_of(model, batch).backward()
        method.after_backward(model, number, 1.0)
        optimizer.step()
        method.after_step(model)
        optimizer.zero_grad()
    return snapshot(model)


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((tensor - other[name]).abs().max()) for name, tensor in one.items())


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("b_scale", [0.0, 0.3])
def test_several_steps_of_the_official_variant_are_the_rule_written_out(threshold: float, b_scale: float) -> None:
    wanted = by_the_rule(lora(dtype=torch.float64, b_scale=b_scale).train(), threshold)
    found = by_the_method(lora(dtype=torch.float64, b_scale=b_scale).train(), threshold, "official")
    assert furthest(found, wanted) <= 1e-12
    # The other variant ends elsewhere, so that the two are not one by accident.
    frozen = by_the_method(lora(dtype=torch.float64, b_scale=b_scale).train(), threshold, "frozen")
    assert furthest(frozen, wanted) > 1e-3


def test_padding_counts_in_the_official_variant_alone() -> None:
    batch = batches(rows(3), 3)[0]
    padding = torch.full((3, 6), 5)
    longer = {
        "input_ids": torch.cat([batch["input_ids"], padding], dim=1),
        "labels": torch.cat([batch["labels"], padding * 0 - 100], dim=1),
        "attention_mask": torch.cat([batch["attention_mask"], padding * 0], dim=1),
    }
    seen = {}
    for variant in ("frozen", "official"):
        magnitudes = []
        for one in (batch, longer):
            model = lora(dtype=torch.float64, b_scale=0.3).train()
            method = methods.build("migu", variant=variant)
            method.prepare(model, {})
            loss_of(model, one).backward()
            magnitudes.append({name: value.clone() for name, value in method._magnitudes.items()})
        seen[variant] = furthest(*magnitudes)
    assert seen["frozen"] <= 1e-9
    assert seen["official"] > 1.0


def test_masked_rows_go_on_by_momentum_in_the_official_variant() -> None:
    model = lora(b_scale=0.3).train()
    method = methods.build("migu", threshold=0.9, variant="official")
    method.prepare(model, {})
    tensors = trainable_tensors(model)
    optimizer = torch.optim.AdamW(tensors.values(), lr=0.1, weight_decay=0.0)
    for tensor in tensors.values():
        tensor.grad = torch.ones_like(tensor)
    optimizer.step()
    optimizer.zero_grad()
    loss_of(model, STEPS[0][0]).backward()
    method.after_backward(model, 0, 1.0)
    before = snapshot(model)
    assert all((tensor.grad == 0).all(dim=1).any() for tensor in tensors.values() if len(tensor) > 1)
    optimizer.step()
    method.after_step(model)
    assert all((tensor.detach() != before[name]).all() for name, tensor in tensors.items())


def test_variant_is_one_of_two_words() -> None:
    with pytest.raises(LaloraError, match="variant='masked' is unknown: choose frozen or official"):
        methods.build("migu", variant="masked")


TWO_PROCESSES = """
import sys
import torch
import torch.distributed as dist
from transformers import TrainingArguments
import lalora
from lalora.adapter import snapshot
from lalora.methods import Migu
from tiny import collate, lora, rows

size, out, variant = int(sys.argv[1]), sys.argv[2], sys.argv[3]
model = lora(dtype=torch.float64, b_scale=0.2)
args = TrainingArguments(
    output_dir=out + ".run", max_steps=3, per_device_train_batch_size=size, learning_rate=1e-2, report_to="none",
    save_strategy="no", use_cpu=True, disable_tqdm=True, seed=3, remove_unused_columns=False, ddp_backend="gloo",
    dataloader_drop_last=True,
)
trainer = lalora.MethodTrainer(
    model=model, args=args, train_dataset=rows(16, seed=5), data_collator=collate, methods=[Migu(variant=variant)]
)
trainer.train()
torch.save(snapshot(model), f"{out}.{args.process_index}")
"""


@pytest.mark.parametrize("variant", ["frozen", "official"])
def test_two_processes_mask_the_same_rows_as_one(variant: str, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TWO_PROCESSES)
    for processes, size in ((1, 4), (2, 2)):
        for process in sandbox.launch(processes, tmp_path / "train.py", size, tmp_path / str(processes), variant):
            assert process.wait() == 0, process.communicate()[1][-3000:]
    alone, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("1.0", "2.0", "2.1"))
    assert furthest(first, second) == 0.0
    # Adam divides by gradients that differ in their last bits; padding, which `official` counts, is by process.
    assert furthest(alone, first) < (1e-6 if variant == "frozen" else 0.1)
