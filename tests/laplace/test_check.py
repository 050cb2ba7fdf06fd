"""A Laplace belongs to one base model and one kind of adapter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig

import lalora
from lalora import LaloraError
from tiny import batches, llama, lora, rows, shake


@pytest.fixture(scope="module")
def laplace() -> lalora.Laplace:
    return lalora.fit(lora(), batches(rows(3), 3), progress=False)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "rank": ({"r": 4}, "has shape \\(4, 16\\) here and \\(3, 16\\)"),
    "alpha": ({"lora_alpha": 12}, "LoRA lora_alpha=6, and the adapter here has lora_alpha=12"),
    "rsLoRA": ({"use_rslora": True}, "LoRA use_rslora=False"),
    "fewer modules": ({"target_modules": ["q_proj"]}, "has no trainable tensor"),
    "another tensor": ({"use_dora": True}, "which this Laplace never saw"),
}


@pytest.mark.parametrize(("settings", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_another_model_is_refused(laplace: lalora.Laplace, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        laplace.penalty(lora(**settings))


def test_other_norms_are_refused(laplace: lalora.Laplace) -> None:
    model = lora()
    model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.data *= 1.2
    with pytest.raises(LaloraError, match="layers.0.mlp.up_proj' has norm"):
        laplace.check(model)


def test_other_values_of_the_same_norms_are_refused(laplace: lalora.Laplace) -> None:
    model, other = lora(), lora(seed=9)
    norms = {name: parameter.norm() for name, parameter in model.named_parameters()}
    for name, parameter in other.named_parameters():
        if not parameter.requires_grad:
            parameter.data *= norms[name] / parameter.norm()
    with pytest.raises(LaloraError, match="has the same shape and norm but other values"):
        laplace.check(other)


@pytest.mark.parametrize("layer", ["self_attn.q_proj", "mlp.down_proj"])
def test_one_layer_with_other_values_is_refused(laplace: lalora.Laplace, layer: str) -> None:
    model = lora()
    own, other = (block.get_submodule(layer).base_layer.weight.data for block in model.get_base_model().model.layers)
    own.copy_(other * own.norm() / other.norm())
    with pytest.raises(LaloraError, match=f"the weight of '.*0.{layer}' has the same shape and norm but other values"):
        laplace.check(model)


def test_another_configuration_is_refused(laplace: lalora.Laplace) -> None:
    model = lora()
    model.get_base_model().config.num_hidden_layers = 99
    with pytest.raises(LaloraError, match="num_hidden_layers is 99 instead of 2"):
        laplace.check(model)


def test_rounding_is_not_another_model(laplace: lalora.Laplace) -> None:
    model = lora().to(torch.bfloat16)
    laplace.check(model)
    for parameter in model.parameters():
        if not parameter.requires_grad:  # about the error of 4-bit storage
            parameter.data += 0.08 * parameter.std() * torch.randn_like(parameter)
    # A merged adapter moves weights by as much, and the two cannot be told apart.
    with pytest.warns(UserWarning, match="is not as it was when this Laplace was fitted"):
        laplace.check(model)


def test_a_model_without_adapter(laplace: lalora.Laplace) -> None:
    with pytest.raises(LaloraError, match="has no LoRA adapter"):
        laplace.penalty(llama())


def test_a_second_model_is_checked_too(laplace: lalora.Laplace) -> None:
    assert laplace.forecast(lora()) == 0.0
    with pytest.raises(LaloraError, match="the model here is another"):
        laplace.forecast(lora(seed=9))


def test_a_local_path_stays_private(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = lora()
    folder = tmp_path_factory.mktemp("somebody") / "my-llama"
    folder.mkdir()
    model.get_base_model().config._name_or_path = str(folder)
    fitted = lalora.fit(model, batches(rows(2), 2), progress=False)
    assert fitted.provenance.base_model == "my-llama"


def test_switching_to_another_adapter_is_noticed() -> None:
    model = lora()
    laplace = lalora.fit(model, batches(rows(3), 3), progress=False)
    laplace.penalty(model)
    model.add_adapter("other", LoraConfig(r=3, target_modules=["q_proj"]))
    model.set_adapter("other")
    with pytest.raises(LaloraError, match="has no trainable tensor"):
        laplace.penalty(model)


def test_an_adapter_that_was_made_anew_is_noticed() -> None:
    model = lora()
    laplace = lalora.fit(model, batches(rows(3), 3), progress=False)
    laplace.penalty(model)
    config = model.peft_config["default"]
    model.add_adapter("other", config)
    model.set_adapter("other")
    model.delete_adapter("default")
    model.add_adapter("default", config)
    model.set_adapter("default")
    shake(model)
    again = lalora.Laplace(laplace.mean, laplace.shapes, laplace.curvature, laplace.provenance)
    assert torch.equal(laplace.penalty(model), again.penalty(model))
