"""A front on tiny models: what it leaves alone, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

import lalora
from lalora import LaloraError
from lalora.adapter import linear_pairs
from lalora.curvature import WeightKfac
from lalora.softening._naive import minimiser, objective
from lalora.softening._shrinkage import Shrunk
from softening.test_solver import dense
from tiny import batches, llama, lora, rows, shake

SOURCE, TARGET = batches(rows(6), 3), batches(rows(5, seed=9), 3)


def base_laplace() -> lalora.Laplace:
    return lalora.fit(llama(), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)


def trained(**settings: Any) -> PeftModel:
    model = lora(b_scale=0.3, **settings)
    shake(model, 0.2)
    return model


def front(model: PeftModel, laplace: lalora.Laplace | None = None) -> lalora.Front:
    return lalora.soften(model, TARGET, laplace or base_laplace(), progress=False)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(**TARGET[0]).logits
    return found


def changes(model: PeftModel) -> dict[str, Tensor]:
    return {
        pair.layer: (pair.scaling * pair.up.weight @ pair.down.weight).detach().double() for pair in linear_pairs(model)
    }


@pytest.mark.parametrize("settings", [{}, {"r": 20}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 7}}], ids=str)
def test_each_layer_is_as_good_as_the_definition_allows(settings: dict[str, Any]) -> None:
    model, laplace = trained(**settings), base_laplace()
    before = changes(model)
    found = front(model, laplace)
    target = lalora.fit(model, {"target": TARGET}, curvature="weight-kfac", progress=False)
    found.apply(model, 1.0)
    assert isinstance(target.curvature, WeightKfac)
    source = laplace.curvature
    assert isinstance(source, WeightKfac)
    for layer, change in changes(model).items():
        pairs = [
            tuple(dense(Shrunk.of(factor)).double() for factor in (part.factors.g(layer), part.factors.x(layer)))
            for part in (target.curvature, source)
        ]
        whole = minimiser(before[layer], pairs[0], pairs[1], 1.0)
        costs = [
            float(objective(one, before[layer], pairs[0], pairs[1], 1.0)) for one in (whole, change, before[layer])
        ]
        assert costs[0] <= costs[1] * (1 + 1e-5) + 1e-12
        assert costs[1] <= costs[2]
        if min(settings.get("r", 3), *change.shape) == min(change.shape):
            assert (change - whole).norm() <= 1e-3 * whole.norm()


def test_the_model_stays_as_it_is() -> None:
    model = trained()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    model.train()
    front(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert flags == {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    assert model.training


def test_at_no_strength_it_is_the_adapter_and_at_any_the_base() -> None:
    model = trained()
    found, as_trained = front(model), logits(model)
    found.apply(model, 0.0)
    assert torch.allclose(logits(model), as_trained, atol=1e-4)
    found.apply(model, 1e12)
    with model.disable_adapter():
        base = logits(model)
    assert torch.allclose(logits(model), base, atol=1e-4)
    assert not torch.allclose(as_trained, base, atol=1e-2)


def test_predictions_go_from_one_side_to_the_other() -> None:
    found = lalora.soften(trained(), TARGET, base_laplace(), (0, 0.01, 0.1, 1, 10, 100), progress=False).predictions
    assert [one.strength for one in found] == [0, 0.01, 0.1, 1, 10, 100]
    assert [one.source for one in found] == sorted((one.source for one in found), reverse=True)
    assert [one.target for one in found] == sorted(one.target for one in found)
    assert found[0].target == pytest.approx(0, abs=1e-6)


def test_saved_and_loaded_it_gives_the_same_logits(tmp_path: Path) -> None:
    model = trained(rank_pattern={"q_proj": 5})
    found, as_trained = front(model), logits(model)
    found.save(tmp_path / "softened", 1.0)
    assert torch.equal(logits(model), as_trained)
    fresh = PeftModel.from_pretrained(llama(), str(tmp_path / "softened"))
    found.apply(model, 1.0)
    assert torch.allclose(logits(fresh), logits(model), atol=1e-6)
    assert not torch.allclose(logits(fresh), as_trained, atol=1e-3)
    with pytest.raises(LaloraError, match="is there already"):
        found.save(tmp_path / "softened", 1.0)


def test_a_disk_that_fills_up_leaves_no_half_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    found, as_trained = front(model), logits(model)

    def full(self: PeftModel, folder: str, **_: Any) -> None:
        (Path(folder) / "adapter_config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PeftModel, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        found.save(tmp_path / "softened", 1.0)
    assert not list(tmp_path.iterdir())
    assert torch.equal(logits(model), as_trained)


def test_a_softened_adapter_beside_the_old_one() -> None:
    model = trained()
    found, as_trained = front(model), logits(model)
    found.add_adapter(model, "softened", 1.0)
    assert model.active_adapters == ["default"]
    assert torch.equal(logits(model), as_trained)
    assert all(p.requires_grad == ("lora_" in name and "softened" not in name) for name, p in model.named_parameters())
    model.set_adapter("softened")
    softened = logits(model)
    model.set_adapter("default")
    found.apply(model, 1.0)
    assert torch.allclose(logits(model), softened, atol=1e-6)
    with pytest.raises(LaloraError, match="has an adapter 'softened' already"):
        found.add_adapter(model, "softened")


def test_a_laplace_of_the_adapter_at_its_start_serves_as_well() -> None:
    start = lora()
    laplace = lalora.fit(start, SOURCE, curvature="weight-kfac", progress=False)
    model = trained()
    first, second = front(model, laplace), front(model)
    assert first.predict(1.0).source == pytest.approx(second.predict(1.0).source, rel=1e-3)


def test_an_adapter_that_was_loaded_for_inference(tmp_path: Path) -> None:
    trained().save_pretrained(str(tmp_path))
    model = PeftModel.from_pretrained(llama(), str(tmp_path))
    assert front(model).predict(1.0).source == pytest.approx(front(trained()).predict(1.0).source, rel=1e-3)


def other_base() -> PeftModel:
    model = get_peft_model(llama(3), LoraConfig(r=3, target_modules="all-linear"))
    shake(model, 0.2)
    return model


def at_nan() -> PeftModel:
    model = trained()
    next(p for p in model.parameters() if p.requires_grad).data.fill_(float("nan"))
    return model


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "no change": (lora, base_laplace, "the adapter changes nothing"),
    "NaN": (at_nan, base_laplace, "is not finite at"),
    "another base": (other_base, base_laplace, "fitted on base model"),
    "DoRA": (lambda: trained(use_dora=True), base_laplace, "of another kind, such as DoRA"),
    "a diagonal": (
        trained,
        lambda: lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal"),
        "needs a Laplace with curvature=",
    ),
    "fitted after training": (
        trained, lambda: lalora.fit(trained(), SOURCE, curvature="weight-kfac", progress=False), "fit it on the base",
    ),
    "fewer layers": (
        trained,
        lambda: lalora.fit(llama(), SOURCE, curvature="weight-kfac", target_modules=["q_proj"], progress=False),
        "knows nothing",
    ),
    "no adapter": (llama, base_laplace, "has no LoRA adapter"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_softened_is_refused_in_one_line(case: str) -> None:
    model, laplace, message = REFUSED[case]
    with pytest.raises(LaloraError, match=message) as caught:
        front(model(), laplace())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), "1", None])
def test_bad_strengths(strength: Any) -> None:
    model, laplace = trained(), base_laplace()
    with pytest.raises(LaloraError, match="strength must be a finite number"):
        lalora.soften(model, TARGET, laplace, (1.0, strength), progress=False)
    with pytest.raises(LaloraError, match="strength must be a finite number"):
        front(model, laplace).apply(model, strength)
