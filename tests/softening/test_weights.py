"""Full fine-tunings, softened beside their base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

import lalora
from lalora import LaloraError
from lalora.curvature import WeightKfac
from lalora.scoring import score_loss
from lalora.softening import HeldOut, soften_weights
from lalora.softening._naive import minimiser
from lalora.softening._shrinkage import Shrunk
from softening.test_budget import UNSEEN, UNSEEN_TARGET
from softening.test_front import SOURCE, TARGET, base_laplace, logits
from softening.test_solver import dense
from tiny import llama, lora


def tuned() -> LlamaForCausalLM:
    model = llama()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def front(model: LlamaForCausalLM, **given: Any) -> lalora.Front:
    return soften_weights(model, llama(), TARGET, base_laplace(), progress=False, **given)


def test_every_layer_is_the_minimiser() -> None:
    model = tuned()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = front(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    base, laplace = llama().state_dict(), base_laplace()
    assert isinstance(laplace.curvature, WeightKfac)
    # Around what λ = 0 is: the trained linear weights, and everything else as in the base.
    found.apply(model, 0.0)
    linear = {name for name in base if "proj" in name}
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, before[name] if name in linear else base[name], atol=1e-5)
    around = lalora.fit(
        model, {"target": TARGET}, curvature="weight-kfac", target_modules="all-linear", progress=False
    ).curvature
    assert isinstance(around, WeightKfac)
    found.apply(model, 2.0)
    for layer in around.factors.layers:
        name = f"{layer.removeprefix('base_model.model.')}.weight"
        pairs = [
            (dense(Shrunk.of(part.g(layer))).double(), dense(Shrunk.of(part.x(layer))).double())
            for part in (around.factors, laplace.curvature.factors)
        ]
        wanted = minimiser((before[name] - base[name]).double(), pairs[0], pairs[1], 2.0)
        change = (model.state_dict()[name] - base[name]).double()
        assert (change - wanted).norm() <= 2e-3 * wanted.norm()


def test_at_any_strength_it_is_the_base() -> None:
    model = tuned()
    found = front(model)
    predicted = [found.predict(strength) for strength in (0.0, 1.0, 1e12)]
    assert predicted[0].source > predicted[1].source > predicted[2].source
    assert predicted[0].target == 0
    found.apply(model, 1e12)
    assert torch.allclose(logits(model), logits(llama()), atol=1e-4)


def test_it_is_measured_beside_its_base_and_saved_as_a_model(tmp_path: Path) -> None:
    model, base = tuned(), llama()
    as_trained = logits(model)
    found = soften_weights(model, base, TARGET, source=SOURCE, held_out=UNSEEN_TARGET, progress=False)
    assert 0 < found.scale <= 1
    held_out = HeldOut(model, UNSEEN, UNSEEN_TARGET, base)
    whole = held_out.measure().drift
    assert found.measure(1.0, held_out).drift < whole
    with found.scaled(0.0):
        assert held_out.measure().drift == pytest.approx(0, abs=1e-6)
    with found.scaled(1.0):
        assert held_out.measure().drift == whole
    choice = found.within(drift=whole / 10, batches=UNSEEN, target=UNSEEN_TARGET, base=base)
    assert choice.met
    found.save(tmp_path / "softened", choice.strength)
    assert torch.equal(logits(model), as_trained)
    fresh = AutoModelForCausalLM.from_pretrained(tmp_path / "softened")
    assert score_loss(fresh, UNSEEN_TARGET) == pytest.approx(choice.measured.target_loss, rel=1e-5)


def at_nan() -> LlamaForCausalLM:
    model = tuned()
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    return model


REFUSED: dict[str, tuple[Any, str]] = {
    "the base itself": (llama, "nothing was trained"),
    "NaN": (at_nan, "is not finite at"),
    "an adapter": (lora, "both without an adapter"),
    "another shape": (lambda: llama(vocab_size=99), "differ in the names or shapes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_softened_is_refused(case: str) -> None:
    with pytest.raises(LaloraError, match=REFUSED[case][1]):
        front(REFUSED[case][0]())


def test_a_laplace_of_another_base_is_refused() -> None:
    laplace = lalora.fit(llama(3), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    with pytest.raises(LaloraError, match="fitted on"):
        soften_weights(tuned(), llama(), TARGET, laplace, progress=False)


def test_there_is_no_adapter_to_add() -> None:
    model = tuned()
    with pytest.raises(LaloraError, match="has no LoRA adapter"):
        front(model).add_adapter(model, "softened")
