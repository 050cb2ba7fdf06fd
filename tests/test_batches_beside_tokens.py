"""What a batch holds beside its tokens, and models that take more than tokens, against float64 by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    BatchEncoding,
    BloomConfig,
    BloomForCausalLM,
    CLIPVisionConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

import lalora
from lalora import LaloraError
from lalora.adapter import trainable_tensors
from lalora.batches import checked
from lalora.methods.kl import KL
from lalora.scoring import score_loss, score_text
from tiny import VOCABULARY, Batch, collate, lora, rows


def moved(model: PeftModel) -> PeftModel:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def gpt2() -> PeftModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=16, initializer_range=0.3)
    adapter = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    return moved(get_peft_model(GPT2LMHeadModel(config), adapter))


def by_hand(model: PeftModel, items: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Squared gradients of each row by itself, in float64, without padding."""
    wide = copy.deepcopy(model).double()
    tensors = trainable_tensors(wide)
    total = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    count = 0
    for item in items:
        inputs = {name: value.unsqueeze(0) for name, value in item.items() if name != "labels"}
        labels = item["labels"][1:]
        logits = wide(**inputs).logits[0, :-1][labels != -100]
        loss = F.cross_entropy(logits, labels[labels != -100], reduction="sum")
        count += int((labels != -100).sum())
        for name, gradient in zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True):
            total[name] += gradient.square()
    return {name: value / count for name, value in total.items()}


def loss_by_hand(model: PeftModel, items: list[dict[str, Any]]) -> float:
    losses = []
    for item in items:
        inputs = {name: value.unsqueeze(0) for name, value in item.items() if name != "labels"}
        labels = item["labels"][1:]
        with torch.no_grad():
            logits = model(**inputs).logits[0, :-1][labels != -100]
        losses.append(F.cross_entropy(logits, labels[labels != -100], reduction="none"))
    return float(torch.cat(losses).mean())


def fitted(model: PeftModel, batch: Any) -> dict[str, Tensor]:
    return dict(lalora.fit(model, [batch], labels="data", progress=False, curvature="diagonal").curvature.tensors())


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].double() - value).norm() <= tolerance * value.norm(), name


def test_padding_on_both_sides() -> None:
    batch = checked(
        {
            "input_ids": [[0, 0, 5, 6, 7, 0]],
            "attention_mask": [[0, 0, 1, 1, 1, 0]],
            "labels": [[-100, -100, -100, 6, 7, -100]],
            "position_ids": [[1, 1, 0, 1, 2, 1]],
        },
        "text",
        lora(),
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, -100, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 1, 1, 1]]


@pytest.mark.parametrize("left", [False, True])
def test_what_the_forward_takes_is_passed_on(left: bool) -> None:
    model, items = gpt2(), rows(4)
    with_extras = [
        {
            **row,
            "position_ids": torch.arange(len(row["input_ids"])) + 2,
            "token_type_ids": torch.ones_like(row["input_ids"]),
        }
        for row in items
    ]
    batch = collate(items, left)
    for name in ("position_ids", "token_type_ids"):
        longest = batch["input_ids"].shape[1]
        padded = []
        for row in with_extras:
            fill = torch.zeros(longest - len(row[name]), dtype=torch.long)
            padded.append(torch.cat([fill, row[name]] if left else [row[name], fill]))
        batch[name] = torch.stack(padded)
    assert_equal(fitted(model, batch), by_hand(model, with_extras))
    assert score_loss(model, [batch]) == pytest.approx(loss_by_hand(model, with_extras), rel=1e-6)
    assert loss_by_hand(model, with_extras) != pytest.approx(loss_by_hand(model, items), rel=1e-3)


def llava() -> PeftModel:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=4, patch_size=2
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=30, image_seq_length=4)
    # The tower's last layer feeds nothing.
    adapted = r".*(vision.*layers\.0\..*q_proj|language.*v_proj|linear_1)"
    return moved(get_peft_model(LlavaForConditionalGeneration(config), LoraConfig(r=2, target_modules=adapted)))


def test_images_are_seen() -> None:
    model = llava()
    torch.manual_seed(1)
    items = []
    for tail in ([4, 5, 6], [7, 8, 9]):
        ids = torch.tensor([3, 30, 30, 30, 30, *tail])
        labels = torch.where(torch.arange(len(ids)) > 5, ids, -100)
        items.append({"input_ids": ids, "labels": labels, "pixel_values": torch.randn(3, 4, 4)})
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    expected = {name: value for name, value in by_hand(model, items).items() if bool(value.any())}
    assert any("vision" in name for name in expected)
    assert_equal(fitted(model, batch), expected, tolerance=1e-4)
    assert score_loss(model, [batch]) == pytest.approx(loss_by_hand(model, items), rel=1e-5)


def read_only(value: Tensor) -> Any:
    array = value.numpy().copy()
    array.setflags(write=False)
    return array


ROW = rows(1)[0]
PLAIN = collate([ROW])


@pytest.mark.parametrize(
    "batch",
    [
        {name: value.tolist() for name, value in PLAIN.items()},
        {name: value.numpy() for name, value in PLAIN.items()},
        {name: list(value) for name, value in PLAIN.items()},
        {name: value.int() for name, value in PLAIN.items()},
        {**PLAIN, "attention_mask": PLAIN["attention_mask"].bool()},
        {**PLAIN, "attention_mask": PLAIN["attention_mask"].float()},
        {**PLAIN, "attention_mask": None},
        ROW,
        {name: value.tolist() for name, value in ROW.items()},
        Dataset.from_dict({name: [value.tolist()] for name, value in ROW.items()})[0],
        Dataset.from_dict({name: [value.tolist()] for name, value in ROW.items()}).with_format("torch")[0],
        Dataset.from_dict({name: [value.tolist()] for name, value in ROW.items()}).with_format("numpy")[:1],
        {name: read_only(value) for name, value in PLAIN.items()},
        BatchEncoding(PLAIN),
        {**PLAIN, "text": ["a cat"], "idx": torch.tensor([3]), "length": [12], "meta": [{"url": "x", "n": None}]},
        {**PLAIN, "use_cache": True, "return_dict": False, "num_items_in_batch": torch.tensor(7)},
        {**PLAIN, "token_type_ids": torch.zeros_like(PLAIN["input_ids"]), "special_tokens_mask": [[0]]},
        {**PLAIN, "completion_mask": (PLAIN["labels"] != -100).long(), "images": None},
        {**PLAIN, "position_ids": torch.arange(PLAIN["input_ids"].shape[1])[None]},
    ],
)
def test_the_same_batch_in_another_dress(batch: Any) -> None:
    model = lora(b_scale=0.3)
    found, plain = (lalora.fit(model, [one], progress=False, curvature="diagonal") for one in (batch, PLAIN))
    assert found.provenance.datasets == plain.provenance.datasets
    assert all(torch.equal(found.curvature.tensors()[name], value) for name, value in plain.curvature.tensors().items())


LENGTH = PLAIN["input_ids"].shape[1]
TWO = collate(rows(2))


def test_inputs_that_cannot_be_split_into_rows() -> None:
    items = [rows(1)[0], {name: value.clone() for name, value in rows(1)[0].items()}]
    items[1]["labels"].fill_(-100)
    batch: Batch = {**collate(items), "pixel_values": torch.zeros(5, 3, 4, 4)}
    with pytest.raises(
        LaloraError, match=r"'pixel_values' has shape \(5, 3, 4, 4\), which cannot be split into 2 rows"
    ):
        lalora.fit(llava(), [batch], progress=False, curvature="diagonal")


def test_images_that_do_not_fit_the_text() -> None:
    batch: Batch = {**collate([ROW]), "pixel_values": torch.zeros(1, 3, 4, 4)}
    with pytest.raises(LaloraError, match="batch 1: LlavaForConditionalGeneration cannot take rows of"):
        lalora.fit(llava(), [batch], progress=False, curvature="diagonal")


def test_rows_longer_than_the_model_has_positions() -> None:
    ids = torch.ones(1, 17, dtype=torch.long)
    with pytest.raises(LaloraError, match="batch 1: GPT2LMHeadModel cannot take rows of 17 tokens"):
        lalora.fit(gpt2(), [{"input_ids": ids, "labels": ids}], progress=False, curvature="diagonal")


def test_positions_for_a_model_that_takes_none() -> None:
    torch.manual_seed(0)
    base = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2))
    model = moved(get_peft_model(base, LoraConfig(r=2, target_modules=["query_key_value"])))
    plain = score_loss(model, [PLAIN])
    assert score_loss(model, [{**PLAIN, "position_ids": torch.arange(LENGTH)[None]}]) == plain
    with pytest.raises(LaloraError, match="this model takes no position_ids"):
        score_loss(model, [{**PLAIN, "position_ids": 2 * torch.arange(LENGTH)[None]}])


def test_rows_without_a_completion_are_left_out_of_every_score() -> None:
    model = lora(b_scale=0.3)
    silent = {**TWO, "labels": TWO["labels"] * 0 - 100}
    assert score_text(model, [TWO, silent]) == score_text(model, [TWO])
    method = KL()
    method.prepare(model, {"a": [silent, TWO]})
    method.after_backward(model, 0, 1.0)
    assert all(parameter.grad is None or bool(parameter.grad.isfinite().all()) for parameter in model.parameters())
    with pytest.raises(LaloraError, match="method 'kl' needs source text"):
        KL().prepare(model, {"a": [silent]})


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"input_ids": [[1, 2]], "labels": [[1, 2]]}, "sources is one batch"),
        ({"arc": PLAIN}, "source 'arc' is a dict: give an iterable of batches"),
        ({"arc": "rows.jsonl"}, "the sources are text: give tokenizer="),
        ({"arc": 3}, "source 'arc' is a int"),
        (None, "source 'source' is a NoneType"),
    ],
)
def test_sources_that_are_no_batches(sources: Any, message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        lalora.fit(lora(), sources, progress=False, curvature="diagonal")


def test_one_batch_is_no_text_to_score() -> None:
    with pytest.raises(LaloraError, match="the text to score is one batch"):
        score_loss(lora(), PLAIN)  # type: ignore[arg-type]
