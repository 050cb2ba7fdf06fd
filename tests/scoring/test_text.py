"""Loss and KL against their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lalora import LaloraError
from lalora.scoring import TextScore, score_loss, score_text
from tiny import Batch, batches, collate, lora, rows, shake


def oracle(model: torch.nn.Module, text: list[Batch]) -> TextScore:
    """Row by row, without padding, in float64 from the logits on."""
    losses, divergences = [], []
    for row in text:
        here = row["labels"][1:] != -100
        with torch.no_grad():
            tuned = model(input_ids=row["input_ids"][None]).logits[0, :-1][here].double().log_softmax(-1)
            with model.disable_adapter():
                base = model(input_ids=row["input_ids"][None]).logits[0, :-1][here].double().log_softmax(-1)
        targets = row["labels"][1:][here]
        losses.append(F.nll_loss(tuned, targets, reduction="none"))
        divergences.append((base.exp() * (base - tuned)).sum(-1))
    tokens = sum(len(part) for part in losses)
    loss, kl = (float(torch.cat(parts).mean()) for parts in (losses, divergences))
    return TextScore(loss, kl, tokens)


def same(score: TextScore, other: TextScore, tolerance: float) -> None:
    assert score.tokens == other.tokens
    for name in ("loss", "kl"):
        assert getattr(score, name) == pytest.approx(getattr(other, name), rel=tolerance, abs=tolerance * 1e-2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
def test_loss_and_kl_are_their_formulas(dtype: torch.dtype, tolerance: float) -> None:
    model, text = lora(dtype=dtype, b_scale=0.2).eval(), rows(9)
    same(score_text(model, batches(text, 4)), oracle(model, text), tolerance)


def test_the_loss_is_the_cross_entropy_of_the_model() -> None:
    model, batch = lora(b_scale=0.2).eval(), collate(rows(5))
    score = score_text(model, [batch])
    assert score.loss == pytest.approx(model(**batch).loss.item(), rel=1e-5)
    assert score_loss(model, [batch]) == pytest.approx(score.loss, rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 9])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_and_batch_size_change_nothing(size: int, left: bool) -> None:
    model, text = lora(dtype=torch.float64, b_scale=0.2).eval(), rows(9)
    batches = [collate(text[start : start + size], left) for start in range(0, len(text), size)]
    # Rotary positions are float32 whatever the dtype, and padding on the left moves them.
    same(score_text(model, batches), oracle(model, text), 1e-6 if left else 1e-11)


def test_an_untouched_model_has_not_drifted_at_all() -> None:
    score = score_text(lora(), batches(rows(9), 4))
    assert score.kl == 0


@pytest.mark.parametrize("scale", [1e-6, 1e-5, 1e-4, 1e-3])
def test_a_small_drift_is_resolved_in_float32(scale: float) -> None:
    model, exact, text = lora(), lora(dtype=torch.float64), rows(20)
    shake(model, scale)
    exact.load_state_dict(model.state_dict())
    kl = score_text(model, batches(text, 4)).kl
    assert kl >= -1e-7
    assert kl == pytest.approx(score_text(exact, batches(text, 4)).kl, rel=0.01, abs=1e-8)


def test_held_out_text_counts_at_every_position() -> None:
    text = [{**row, "labels": row["input_ids"]} for row in rows(4)]
    assert score_text(lora(), batches(text, 2)).tokens == sum(len(row["input_ids"]) - 1 for row in text)


def test_long_texts_are_summed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = lora(dtype=torch.float64, b_scale=0.2), batches(rows(9), 9)
    whole = score_text(model, text)
    monkeypatch.setattr("lalora.scoring._text.CHUNK", 3)
    same(score_text(model, text), whole, 1e-12)


def test_the_model_leaves_as_it_came() -> None:
    model = lora(b_scale=0.2, lora_dropout=0.5)
    model.train()
    model.get_base_model().model.layers[1].eval()
    frozen = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    frozen.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()

    first, second = (score_text(model, batches(rows(5), 2)) for _ in range(2))

    assert first == second
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_a_text_without_completion_is_refused() -> None:
    batch = collate(rows(2))
    batch["labels"].fill_(-100)
    with pytest.raises(LaloraError, match="no completion tokens"):
        score_text(lora(), [batch])
    with pytest.raises(LaloraError, match="no completion tokens"):
        score_loss(lora(), [batch])
