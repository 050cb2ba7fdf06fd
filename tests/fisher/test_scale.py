"""Is ½ΔᵀΛΔ the drift in nats per token?"""

import torch
from torch import Tensor

import lalora
from lalora.adapter import trainable_tensors
from lalora.fisher._labels import _invert, draw
from tiny import batches, collate, lora, rows


def drift(model: torch.nn.Module, batch: dict[str, Tensor], before: Tensor) -> float:
    after = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    kept = batch["labels"][:, 1:] != -100
    log_p, log_q = before[kept].log_softmax(-1), after[kept].log_softmax(-1)
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


@torch.no_grad()
def test_forecast_is_the_drift_in_nats_per_token() -> None:
    model = lora(dtype=torch.float64, b_scale=0.2)
    items = rows(48)
    with torch.enable_grad():
        fits = [lalora.fit(model, batches(items, 16), seed=seed, progress=False) for seed in range(8)]
    whole = collate(items)
    before = model(input_ids=whole["input_ids"], attention_mask=whole["attention_mask"]).logits[:, :-1]
    tensors = trainable_tensors(model)
    start = {name: parameter.clone() for name, parameter in tensors.items()}
    torch.manual_seed(3)
    forecast = measured = 0.0
    for _ in range(60):
        for name, parameter in tensors.items():
            parameter.copy_(start[name] + 3e-3 * torch.randn_like(parameter))
        forecast += sum(fit.forecast(model) for fit in fits) / len(fits)
        measured += drift(model, whole, before)
    assert 0.9 <= forecast / measured <= 1.1


def test_labels_are_drawn_from_the_model() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 6) * 2
    many = 40_000
    drawn = draw(logits.expand(many, -1), torch.zeros(many, dtype=torch.long), 0, 5, "source")
    frequency = torch.bincount(drawn, minlength=6) / many
    assert torch.allclose(frequency, logits[0].softmax(-1), atol=0.01)


def test_drawing_inverts_the_distribution_function() -> None:
    torch.manual_seed(0)
    logits = torch.randn(300, 1000) * 3
    threshold = torch.rand(300, dtype=torch.float64)
    cumulative = logits.double().softmax(-1).cumsum(-1)
    expected = torch.searchsorted(cumulative, threshold.unsqueeze(1), right=True).squeeze(1)
    assert torch.equal(_invert(logits, threshold), expected)


def test_a_rows_labels_depend_on_seed_dataset_and_row_alone() -> None:
    logits = torch.zeros(7, 50)
    two_rows = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    both = draw(logits, two_rows, 0, 0, "a")
    second = draw(logits[3:], torch.zeros(4, dtype=torch.long), 1, 0, "a")
    assert torch.equal(both[3:], second)
    assert not torch.equal(both, draw(logits, two_rows, 0, 1, "a"))
    assert not torch.equal(both, draw(logits, two_rows, 0, 0, "b"))
