"""What a batch may hold, and what becomes of it."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import lalora
from lalora import LaloraError
from lalora.adapter import trainable_tensors
from lalora.batches import checked
from lalora.scoring import score_text
from tiny import VOCABULARY, collate, lora, rows

ITEMS = rows(4)
GOOD = collate(ITEMS)


def gpt2() -> PeftModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    model = get_peft_model(
        GPT2LMHeadModel(config).eval(), LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return model


def left_padded(items: list[dict[str, Tensor]], pad: int = 0) -> dict[str, Tensor]:
    longest = max(len(item["input_ids"]) for item in items)

    def padded(key: str, fill: int) -> Tensor:
        return torch.stack([F.pad(item[key], (longest - len(item[key]), 0), value=fill) for item in items])

    ones = [{"m": torch.ones(len(item["input_ids"]), dtype=torch.long)} for item in items]
    mask = torch.stack([F.pad(one["m"], (longest - len(one["m"]), 0)) for one in ones])
    return {"input_ids": padded("input_ids", pad), "labels": padded("labels", -100), "attention_mask": mask}


def by_autograd(model: PeftModel, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    tensors = trainable_tensors(model)
    total = {name: torch.zeros_like(value) for name, value in tensors.items()}
    tokens = 0
    for item in items:
        logits = model(input_ids=item["input_ids"][None]).logits[0, :-1]
        kept = item["labels"][1:] != -100
        loss = F.cross_entropy(logits[kept], item["labels"][1:][kept], reduction="sum")
        tokens += int(kept.sum())
        for name, gradient in zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True):
            total[name] += gradient.square()
    return {name: value / tokens for name, value in total.items()}


@pytest.mark.parametrize("prompted", [True, False], ids=["with a prompt", "without a prompt"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_left_padding_changes_nothing(kind: str, prompted: bool) -> None:
    model = gpt2() if kind == "gpt2" else lora(b_scale=0.3)
    items = ITEMS if prompted else [{**item, "labels": item["input_ids"].clone()} for item in ITEMS]
    fitted = lalora.fit(model, [left_padded(items)], labels="data", progress=False, curvature="diagonal")
    for name, value in by_autograd(model, items).items():
        torch.testing.assert_close(fitted.curvature.tensors()[name], value, rtol=1e-4, atol=1e-8)
    assert fitted.provenance.datasets[0].tokens == sum(int((item["labels"][1:] != -100).sum()) for item in items)
    left, right = score_text(model, [left_padded(items)]), score_text(model, [collate(items)])
    assert left.tokens == right.tokens
    assert left.loss == pytest.approx(right.loss, rel=1e-5)
    assert left.kl == pytest.approx(right.kl, rel=1e-4)


def test_positions_are_passed_on() -> None:
    model = lora(b_scale=0.3)
    shifted = torch.arange(GOOD["input_ids"].shape[1]).mul(3).expand_as(GOOD["input_ids"])
    found = score_text(model, [{**GOOD, "position_ids": shifted}]).loss
    with torch.no_grad():
        logits = model(input_ids=GOOD["input_ids"], attention_mask=GOOD["attention_mask"], position_ids=shifted).logits
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), GOOD["labels"][:, 1:].flatten())
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert found != pytest.approx(score_text(model, [GOOD]).loss, rel=1e-3)


def as_lists(batch: dict[str, Tensor]) -> dict[str, Any]:
    return {key: value.tolist() for key, value in batch.items()}


@pytest.mark.parametrize(
    "batch",
    [
        as_lists(GOOD),
        {key: value.numpy() for key, value in GOOD.items()},
        {key: list(value) for key, value in GOOD.items()},
        {key: value.int() for key, value in GOOD.items()},
        {**GOOD, "attention_mask": GOOD["attention_mask"].bool()},
        {**GOOD, "text": ["a"] * 4, "idx": torch.arange(4), "length": [3] * 4, "num_items_in_batch": 7},
        datasets.Dataset.from_dict(as_lists(GOOD))[:],
        datasets.Dataset.from_dict(as_lists(GOOD)).with_format("numpy")[:],
        {**GOOD, "labels": GOOD["labels"].masked_fill(GOOD["attention_mask"] == 0, -7)},
        {**GOOD, "input_ids": GOOD["input_ids"].masked_fill(GOOD["attention_mask"] == 0, -1)},
    ],
    ids=[
        "lists",
        "numpy",
        "lists of tensors",
        "int32",
        "bool mask",
        "columns",
        "dataset",
        "numpy dataset",
        "pad",
        "ids",
    ],
)
def test_other_forms_mean_the_same(batch: Any) -> None:
    model = lora(b_scale=0.3)
    expected = lalora.fit(model, [GOOD], progress=False, curvature="diagonal").curvature.tensors()
    found = lalora.fit(model, [batch], progress=False, curvature="diagonal").curvature.tensors()
    for name, value in expected.items():
        assert torch.equal(found[name], value)


def test_a_row_of_a_dataset_is_a_batch_of_one() -> None:
    rows_of = datasets.Dataset.from_list([{key: value.tolist() for key, value in item.items()} for item in ITEMS])
    model = lora(b_scale=0.3)
    found = lalora.fit(model, rows_of, labels="data", progress=False, curvature="diagonal").curvature.tensors()
    for name, value in by_autograd(model, ITEMS).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-8)


def changed(key: str, row: int, column: int, value: int) -> dict[str, Tensor]:
    copy = {name: tensor.clone() for name, tensor in GOOD.items()}
    copy[key][row, column] = value
    return copy


LENGTH = GOOD["input_ids"].shape[1]
REFUSED: dict[str, tuple[Any, str]] = {
    "a negative label": (
        changed("labels", 1, 0, -1),
        "batch 1, row 1: a label is -100 or one of the model's 31 tokens",
    ),
    "a label beyond": (changed("labels", 0, 2, 31), "batch 1, row 0: a label is -100 or .* not 31"),
    "an id beyond": (changed("input_ids", 2, 1, 99), "batch 1, row 2: input_ids holds 99, and the model has 31 tokens"),
    "a negative id": (changed("input_ids", 0, 1, -5), "row 0: input_ids holds -5"),
    "segments in the mask": (changed("attention_mask", 0, 0, 2), "attention_mask holds 2, not only 0 and 1"),
    "a hole in the mask": (changed("attention_mask", 0, 2, 0), "row 0: attention_mask hides positions between"),
    "cu_seqlens": ({**GOOD, "cu_seqlens": torch.tensor([0, 5])}, "rows are packed \\('cu_seqlens'\\)"),
    "segment_ids": ({**GOOD, "segment_ids": GOOD["input_ids"]}, "rows are packed \\('segment_ids'\\)"),
    "positions that restart": (
        {**GOOD, "position_ids": (torch.arange(LENGTH) % 3).expand_as(GOOD["input_ids"])},
        "rows are packed \\(position_ids",
    ),
    "an unknown key": ({**GOOD, "loss_weights": torch.ones(4, LENGTH)}, "'loss_weights' is no input of this model"),
    "another completion mask": (
        {**GOOD, "completion_mask": torch.zeros_like(GOOD["labels"])},
        "labels count where 'completion_mask' is 0: set these labels to -100",
    ),
    "a completion mask of labels": ({**GOOD, "completion_mask": GOOD["labels"]}, "'completion_mask' must be 0 and 1"),
    "embeddings": ({**GOOD, "inputs_embeds": torch.ones(4, LENGTH, 16)}, "'inputs_embeds' is no input"),
    "ragged lists": ({**GOOD, "labels": [[1], [1, 2]]}, "'labels' is no tensor and cannot become one"),
    "text as ids": ({**GOOD, "input_ids": ["a", "b"]}, "'input_ids' .*"),
    "floats": ({**GOOD, "input_ids": GOOD["input_ids"].float()}, "'input_ids' must hold whole numbers, not float32"),
    "positions of another shape": ({**GOOD, "position_ids": torch.arange(LENGTH)}, "position_ids'? has shape"),
    "positions that restart elsewhere": (
        {**GOOD, "position_ids": (torch.arange(LENGTH) % 5 + 7).expand_as(GOOD["input_ids"])},
        "rows are packed \\(position_ids",
    ),
    "moments that restart": (
        {**GOOD, "position_ids": (torch.arange(LENGTH) % 5).expand(3, *GOOD["input_ids"].shape)},
        "rows are packed \\(position_ids",
    ),
    "an additive mask": ({**GOOD, "attention_mask": torch.zeros(4, LENGTH) - 3e38}, "not only 0 and 1"),
    "a mask of pairs": ({**GOOD, "attention_mask": torch.ones(4, 1, LENGTH, LENGTH)}, "must all be \\(rows, length"),
    "a huge number": ({**GOOD, "input_ids": [[2**70] * LENGTH] * 4}, "'input_ids' is no tensor and cannot become one"),
    "a sparse tensor": ({**GOOD, "input_ids": GOOD["input_ids"].to_sparse()}, "'input_ids' is no tensor and cannot"),
    "notes that hold tensors": ({**GOOD, "more": {"pixel_values": torch.ones(1)}}, "'more' is no input of this model"),
    "a cache": ({**GOOD, "past_key_values": [[1.0]]}, "'past_key_values' is no input of this model"),
    "none": ({"input_ids": GOOD["input_ids"], "labels": None}, "the batch has no 'labels'"),
}


@pytest.mark.parametrize(("batch", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("use", ["fit", "score"])
def test_what_is_refused(use: str, batch: Any, message: str) -> None:
    model = lora()
    with pytest.raises(LaloraError, match=message):
        _ = (
            lalora.fit(model, [batch], progress=False, curvature="diagonal")
            if use == "fit"
            else score_text(model, [batch])
        )


def test_what_belongs_to_a_position_moves_with_it() -> None:
    class WithTypes(torch.nn.Module):
        def forward(self, input_ids: Tensor, token_type_ids: Tensor, position_ids: Tensor, pixels: Tensor) -> None: ...

    model = lora()
    model.get_base_model().forward = WithTypes().forward  # type: ignore[method-assign]
    batch = left_padded(ITEMS)
    types = torch.arange(4 * LENGTH).view(4, LENGTH)
    thrice = types.expand(3, 4, LENGTH)
    pixels = torch.rand(4, 2, 2)
    ready = checked({**batch, "token_type_ids": types, "position_ids": thrice, "pixels": pixels}, "here", model)
    for row, item in enumerate(ITEMS):
        length = len(item["input_ids"])
        assert torch.equal(ready["input_ids"][row, :length], item["input_ids"])
        assert torch.equal(ready["token_type_ids"][row, :length], types[row, LENGTH - length :])
        assert torch.equal(ready["position_ids"][:, row, :length], types[row, LENGTH - length :].expand(3, -1))
    assert torch.equal(ready["pixels"], pixels)
    with pytest.raises(LaloraError, match="'pixels' has shape .* give one row a batch"):
        checked({**batch, "token_type_ids": types, "position_ids": thrice, "pixels": np.ones((9, 2))}, "here", model)
