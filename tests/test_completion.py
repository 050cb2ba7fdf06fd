"""Which tokens are counted, whichever side is padded."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

import lalora
from lalora.completion import completion
from lalora.scoring import score_loss, score_text
from tiny import Batch, collate, lora, rows

WITH_PROMPT = rows(5)
WITHOUT = [{**row, "labels": row["input_ids"].clone()} for row in rows(5, seed=1)]
TEXTS = {"with a prompt": WITH_PROMPT, "without a prompt": WITHOUT, "both": [*WITH_PROMPT, *WITHOUT]}


@pytest.fixture(params=TEXTS)
def text(request: pytest.FixtureRequest) -> list[Batch]:
    return TEXTS[request.param]


def test_the_same_tokens_count_whichever_side_is_padded(text: list[Batch]) -> None:
    model = lora(dtype=torch.float64, b_scale=0.2).eval()
    left, right = (completion(model, collate(text, left=side)) for side in (True, False))
    assert torch.equal(left.targets, right.targets)
    assert torch.equal(left.rows, right.rows)
    assert left.rows.bincount().tolist() == [int((row["labels"][1:] != -100).sum()) for row in text]
    losses = [cross_entropy(one.logits, one.targets, reduction="none") for one in (left, right)]
    # Rotary positions are float32 whatever the dtype, and padding on the left moves them.
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


def test_scores_are_the_same_whichever_side_is_padded(text: list[Batch]) -> None:
    model = lora(dtype=torch.float64, b_scale=0.2).eval()
    left, right = (score_text(model, [collate(text, left=side)]) for side in (True, False))
    assert left == right
    losses = {score_loss(model, [collate(text, left=side)]) for side in (True, False)}
    assert len(losses) == 1


@pytest.mark.parametrize("fisher", ["sequence", "token", "batch"])
def test_a_fit_counts_the_same_whichever_side_is_padded(text: list[Batch], fisher: str) -> None:
    model = lora(b_scale=0.2)
    sides = [
        lalora.fit(model, [collate(text, left=side)], fisher=fisher, progress=False, curvature="diagonal")
        for side in (True, False)
    ]
    left, right = (fitted.provenance.datasets[0] for fitted in sides)
    assert (left.rows, left.tokens, left.sha256) == (right.rows, right.tokens, right.sha256)
    assert left.tokens == sum(int((row["labels"][1:] != -100).sum()) for row in text)
    for name, tensor in sides[0].curvature.tensors().items():
        assert torch.equal(tensor, sides[1].curvature.tensors()[name])
