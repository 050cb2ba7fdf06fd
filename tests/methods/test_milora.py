"""MiLoRA's start against the singular value decomposition, and its adapter on the untouched base."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from lalora import LaloraError, methods
from lalora.adapter import linear_pairs
from lalora.methods.kl import kl_to_base
from lalora.softening import scaled
from tiny import batches, llama, lora, rows, shake

BATCH = batches(rows(3), 3)[0]
TEXT = {name: BATCH[name] for name in ("input_ids", "attention_mask")}


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**TEXT).logits


def prepared(**settings: object) -> tuple[PeftModel, methods.Method]:
    model = lora(**settings).eval()
    method = methods.build("milora")
    method.prepare(model, {})
    return model, method


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"r": 8}], ids=str)
def test_it_starts_as_the_base(settings: dict[str, object]) -> None:
    model, _ = prepared(**settings)
    assert (logits(model) - logits(llama().eval())).abs().max() <= 1e-5


def test_its_adapter_spans_the_bottom_singular_space() -> None:
    model, _ = prepared()
    base = dict(llama().named_modules())
    for pair in linear_pairs(model):
        weight = base[pair.layer.removeprefix("base_model.model.")].weight.detach().double()
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        rank = pair.down.weight.shape[0]
        minor = (left[:, -rank:] * values[-rank:]) @ right[-rank:]
        ours = pair.scaling * (pair.up.weight @ pair.down.weight).detach()
        assert (ours - minor).norm() <= 1e-5 * weight.norm()
        residual = model.get_submodule(pair.layer).get_base_layer().weight.detach()
        assert (residual - (weight - minor)).norm() <= 1e-5 * weight.norm()
        assert torch.linalg.matrix_rank(residual.double(), tol=1e-4) == min(weight.shape) - rank


def test_at_scaling_one_a_and_b_are_the_authors_own() -> None:
    """B = U_r √Σ_r and A = √Σ_r V_rᵀ with diagonal matrices written out, to the bit."""
    model, _ = prepared(lora_alpha=3)
    base = dict(llama().named_modules())
    for pair in linear_pairs(model):
        assert pair.scaling == 1.0
        weight = base[pair.layer.removeprefix("base_model.model.")].weight.detach().double()
        u, s, vt = torch.linalg.svd(weight, full_matrices=False)
        root = torch.diag(torch.sqrt(s[-3:]))
        assert torch.equal(pair.up.weight, (u[:, -3:] @ root).float())
        assert torch.equal(pair.down.weight, (root @ vt[-3:, :]).float())
        rest = model.get_submodule(pair.layer).get_base_layer().weight
        assert (rest - (weight - u[:, -3:] @ root @ root @ vt[-3:, :])).abs().max() <= 1e-6


def test_switched_off_it_is_the_base_whatever_was_learned() -> None:
    model, _ = prepared()
    assert kl_to_base(model, BATCH).item() == pytest.approx(0, abs=1e-6)
    shake(model)
    with model.disable_adapter():
        assert (logits(model) - logits(llama().eval())).abs().max() <= 1e-5
    assert kl_to_base(model, BATCH).item() > 1e-3


def test_scaled_it_goes_from_the_base_to_what_was_learned() -> None:
    model, _ = prepared()
    shake(model)
    tuned = logits(model)
    with scaled(model, 0.0):
        assert (logits(model) - logits(llama().eval())).abs().max() <= 1e-5
    with scaled(model, 1.0):
        assert torch.equal(logits(model), tuned)


def test_in_bfloat16_nothing_has_drifted_at_the_start() -> None:
    model = lora(dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    methods.build("milora").prepare(model, {})
    assert kl_to_base(model, BATCH).item() == 0


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}], ids=str)
def test_the_kept_adapter_is_plain_lora_of_twice_the_rank_on_the_untouched_base(
    settings: dict[str, object], tmp_path: Path
) -> None:
    model, method = prepared(**settings)
    shake(model)
    method.save_adapter(model, tmp_path)
    loaded = PeftModel.from_pretrained(llama(), str(tmp_path)).eval()
    assert loaded.peft_config["default"].r == 6
    assert (logits(loaded) - logits(model)).abs().max() <= 1e-5
    assert model.peft_config["default"].r == 3


def test_the_base_can_be_restored_bit_for_bit() -> None:
    model, method = prepared()
    shake(model)
    method.restore(model)
    assert torch.equal(logits(model), logits(llama().eval()))
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(llama().eval()))


def test_what_it_cannot_split_is_refused() -> None:
    with pytest.raises(LaloraError, match=r"rank 17 is more than '.*q_proj' has, a weight of \(16, 16\)"):
        prepared(r=17, target_modules=["q_proj"])
    with pytest.raises(LaloraError, match="one rank and one alpha"):
        prepared(rank_pattern={"q_proj": 2})
    with pytest.raises(LaloraError, match="plain linear LoRA layers alone"):
        prepared(use_dora=True)
    model = lora(target_modules=["q_proj"])
    layer = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(LaloraError, match="method 'milora' needs the base weights .* is quantised"):
        methods.build("milora").prepare(model, {})
