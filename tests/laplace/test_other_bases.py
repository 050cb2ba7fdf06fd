"""Bases that are damaged, grown, quantised, or mixtures of experts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

import lalora
from lalora import LaloraError
from lalora.adapter import linear_pairs, trainable_tensors
from lalora.study.setup.start import at_mean
from tiny import VOCABULARY, batches, llama, lora, rows

SOURCE = batches(rows(4), 2)


def test_a_base_that_is_not_finite_is_refused() -> None:
    model = lora()
    with torch.no_grad():
        model.get_base_model().model.layers[1].self_attn.q_proj.base_layer.weight[0, 0] = float("nan")
    with pytest.raises(LaloraError, match=r"layers\.1\.self_attn\.q_proj' is not finite"):
        lalora.fit(model, SOURCE, progress=False, curvature="diagonal")


@pytest.mark.parametrize("place", [0, 1], ids=["norm", "projection"])
def test_a_fingerprint_that_is_not_a_number_fits_no_model(place: int) -> None:
    laplace = lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal")
    for summary in laplace.provenance.fingerprint["layers"].values():
        summary[place] = float("nan")
    with pytest.raises(LaloraError, match="the model here is another"):
        laplace.check(lora())


class Packed(nn.Module):
    """Keeps its weight under a name of its own, as layers of several quantisations do."""

    def __init__(self, linear: nn.Linear, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features, self.name = linear.in_features, linear.out_features, name
        self.register_buffer(name, linear.weight.detach().to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.get_buffer(self.name).to(x.dtype).T + 0.25


PACKED = {"another name": ("qweight", torch.float32), "eight bits": ("weight", torch.float8_e4m3fn)}


@pytest.mark.parametrize(("name", "dtype"), PACKED.values(), ids=PACKED.keys())
def test_packed_weights_are_known_by_what_they_compute(name: str, dtype: torch.dtype) -> None:
    def model(seed: int) -> PeftModel:
        made = lora(seed, target_modules=["q_proj"])
        for layer in made.get_base_model().model.layers:
            layer.self_attn.q_proj.base_layer = Packed(layer.self_attn.q_proj.base_layer, name, dtype)
        return made

    laplace = lalora.fit(model(0), SOURCE, progress=False, curvature="diagonal")
    plain = lalora.fit(lora(target_modules=["q_proj"]), SOURCE, progress=False, curvature="diagonal")
    for layer, summary in plain.provenance.fingerprint["layers"].items():
        found = laplace.provenance.fingerprint["layers"][layer]
        assert found == pytest.approx(summary, abs=1e-4 if dtype == torch.float32 else 0.1)
    laplace.check(model(0))
    laplace.check(lora(target_modules=["q_proj"]))
    with pytest.raises(LaloraError, match="the model here is another"):
        laplace.check(model(5))


def test_a_weight_that_cannot_be_read_is_named() -> None:
    model = lora(target_modules=["q_proj"])
    layer = model.get_base_model().model.layers[1].self_attn.q_proj
    layer.base_layer = Packed(layer.base_layer, "qweight", torch.float32)
    del layer.base_layer.in_features
    with pytest.raises(LaloraError, match=r"the base weight of '.*layers\.1.*q_proj' cannot be read \(Packed\)"):
        lalora.fit(model, SOURCE, progress=False, curvature="diagonal")


def test_a_fingerprint_of_nothing_fits_no_model() -> None:
    laplace = lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal")
    laplace.provenance.fingerprint["layers"].clear()
    with pytest.raises(LaloraError, match="does not tell the weights of its base model"):
        laplace.check(lora())


def test_weights_that_repack_themselves_in_the_first_forward_pass() -> None:
    class Repacked(nn.Module):
        """Holds bytes as a quantised layer does, and shuffles them when it is first called."""

        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            self.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)
            self.repacked = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x @ (self.weight.flip(0) if self.repacked else self.weight).T
            if not self.repacked:
                self.repacked, self.weight.data = True, self.weight.data.flip(0)
            return y

    def model() -> PeftModel:
        made = lora(target_modules=["q_proj"])
        for layer in made.get_base_model().model.layers:
            layer.self_attn.q_proj.base_layer = Repacked(layer.self_attn.q_proj.base_layer)
        return made

    lalora.fit(model(), SOURCE, progress=False, curvature="diagonal").check(model())


def test_a_vocabulary_that_grew_is_no_other_base() -> None:
    laplace = lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal")
    grown = llama()
    grown.resize_token_embeddings(VOCABULARY + 5, mean_resizing=False)
    model = get_peft_model(grown, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear"))
    laplace.check(model)
    with_head = lalora.fit(lora(target_modules=["lm_head"]), SOURCE, progress=False, curvature="diagonal")
    grown = llama()
    grown.resize_token_embeddings(VOCABULARY + 5, mean_resizing=False)
    with pytest.raises(LaloraError, match=r"lm_head.*\(36, 3\) here and \(31, 3\)"):
        with_head.check(get_peft_model(grown, LoraConfig(r=3, lora_alpha=6, target_modules=["lm_head"])))


BESIDE: dict[str, dict[str, Any]] = {
    "a saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "new rows": {"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]},
    "an adapted head": {"target_modules": ["q_proj", "lm_head"]},
    "an adapted embedding": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.mark.parametrize("settings", BESIDE.values(), ids=BESIDE.keys())
def test_what_a_curvature_in_weight_space_does_not_know_is_free_and_said_once(
    settings: dict[str, Any], recwarn: pytest.WarningsRecorder
) -> None:
    laplace = lalora.fit(llama(), SOURCE, curvature="weight-kfac", target_modules=["q_proj", "v_proj"], progress=False)
    model, plain = lora(**settings), lora(target_modules=["q_proj"])
    for _ in range(3):
        laplace.penalty(model)
    assert sum("free" in str(warning.message) for warning in recwarn) == 1
    recwarn.clear()
    laplace.penalty(plain)
    torch.manual_seed(0)
    moves = {name: torch.randn_like(value) * 0.1 for name, value in trainable_tensors(model).items()}
    with torch.no_grad():
        for one in (model, plain):
            for name, parameter in trainable_tensors(one).items():
                parameter.add_(moves[name])
    start = {
        name: value for name, value in trainable_tensors(lora(target_modules=["q_proj"])).items() if "lora_A" in name
    }
    with torch.no_grad():
        for name, parameter in trainable_tensors(model).items():
            if name in start:  # another random start of A where more modules are adapted
                parameter.copy_(trainable_tensors(plain)[name])
    assert laplace.forecast(plain) > 0
    assert laplace.forecast(model) == pytest.approx(laplace.forecast(plain), rel=0.5)
    gradients = torch.autograd.grad(laplace.penalty(model), list(trainable_tensors(model).values()), allow_unused=True)
    for name, gradient in zip(trainable_tensors(model), gradients, strict=True):
        assert (gradient is not None and bool(gradient.any())) == ("q_proj" in name)


def mixture() -> MixtralForCausalLM:
    torch.manual_seed(0)
    settings = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 4}
    config = MixtralConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=20, pad_token_id=0, **settings)
    return MixtralForCausalLM(config)


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys", "ignore:Unsupported layer type")
@pytest.mark.parametrize("modules", [["q_proj"], []], ids=["and attention", "alone"])
def test_adapted_experts_come_back_from_their_file(modules: list[str], tmp_path: Path) -> None:
    parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    model = get_peft_model(mixture(), LoraConfig(r=2, target_modules=modules, target_parameters=parameters))
    laplace = lalora.fit(model, SOURCE, progress=False, curvature="diagonal")
    laplace.check(model)
    laplace.save(tmp_path)
    loaded = lalora.Laplace.load(tmp_path)
    assert loaded.provenance.lora["target_parameters"] == sorted(parameters)
    again = at_mean(mixture(), loaded)
    assert loaded.is_mean(again)
    with torch.no_grad():
        for parameter in trainable_tensors(again).values():
            parameter.add_(0.1)
    assert loaded.forecast(again) > 0
    other = mixture()
    with torch.no_grad():
        other.model.layers[0].mlp.experts.down_proj.normal_()
    with pytest.raises(LaloraError, match="the model here is another"):
        laplace.check(get_peft_model(other, LoraConfig(r=2, target_modules=modules, target_parameters=parameters)))


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys", "ignore:Unsupported layer type")
def test_a_base_fit_of_a_mixture_names_what_it_leaves_and_serves_the_rest() -> None:
    with pytest.warns(UserWarning, match=r"leaves '.*mlp\.gate' and .* more free"):
        laplace = lalora.fit(mixture(), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    model = get_peft_model(copy.deepcopy(mixture()), LoraConfig(r=2, target_modules=["q_proj", "o_proj"]))
    laplace.check(model)
    with torch.no_grad():
        for parameter in trainable_tensors(model).values():
            parameter.add_(0.1)
    assert laplace.forecast(model) > 0


def test_weights_that_are_offloaded_are_named() -> None:
    model = lora(target_modules=["q_proj"])
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    layer.base_layer.weight = nn.Parameter(layer.base_layer.weight.to("meta"), requires_grad=False)
    with pytest.raises(LaloraError, match=r"the weight of '.*layers\.0\.self_attn\.q_proj' is not in memory"):
        lalora.fit(model, SOURCE, progress=False, curvature="diagonal")


class Experts(nn.Module):
    """Three linear experts; the second is for short rows alone, the third for none."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.experts[0](x)
        return y + self.experts[1](x) if x.shape[1] <= 8 else y


def of_experts() -> nn.Module:
    base = llama()
    torch.manual_seed(3)
    for layer in base.model.layers:
        layer.mlp = Experts()
    return base


@pytest.mark.parametrize("curvature", ["weight-kfac", "weight-diagonal"])
def test_a_base_fit_leaves_experts_that_no_row_reaches(curvature: str) -> None:
    settings = {"curvature": curvature, "progress": False}
    short = [{name: value[:, :8] for name, value in batch.items()} for batch in batches(rows(4), 2)]
    with pytest.warns(UserWarning, match=r"no row reaches '.*layers\.0\.mlp\.experts\.2' and 1 more: this Laplace"):
        laplace = lalora.fit(of_experts(), short, target_modules="all-linear", **settings)
    known = laplace.provenance.fingerprint["layers"]
    assert not [name for name in known if name.endswith("experts.2")]
    reached = lalora.fit(of_experts(), short, target_modules=["experts.0", "experts.1"], **settings)

    def moved(modules: list[str]) -> PeftModel:
        torch.manual_seed(4)
        return get_peft_model(of_experts(), LoraConfig(r=2, target_modules=modules))

    served = moved(["experts.0", "experts.1"])
    laplace.check(served)
    reached.check(served)
    with torch.no_grad():
        for parameter in trainable_tensors(served).values():
            parameter.add_(0.1)
    assert laplace.forecast(served) == reached.forecast(served) > 0
    with pytest.raises(LaloraError, match=r"experts\.2"):
        laplace.check(moved(["experts.0", "experts.2"]))


@pytest.mark.parametrize("combine", ["mean", "separate"])
@pytest.mark.parametrize("curvature", ["weight-kfac", "weight-diagonal"])
def test_a_base_fit_on_sources_that_reach_other_experts_is_refused(curvature: str, combine: str) -> None:
    whole = batches(rows(4), 2)
    short = [{name: value[:, :8] for name, value in batch.items()} for batch in whole]
    with pytest.raises(LaloraError, match="experts.1' and source 'whole' does not|reach different layers"):
        lalora.fit(
            of_experts(), {"whole": whole, "short": short}, curvature=curvature, target_modules="all-linear",
            combine=combine, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize("key", ["layers.1.self_attn.q_proj", r"layers\.1\.self_attn\.q_proj", "q_proj"])
def test_ranks_and_scales_of_single_layers_come_back_from_a_file(key: str, tmp_path: Path) -> None:
    lalora.fit(lora(rank_pattern={key: 5}, alpha_pattern={key: 9}), SOURCE, progress=False, curvature="diagonal").save(
        tmp_path
    )
    laplace = lalora.Laplace.load(tmp_path)
    model = at_mean(llama(), laplace)
    assert laplace.is_mean(model)
    scales = {layer: pair.scaling for pair in linear_pairs(model) if (layer := pair.layer).endswith("q_proj")}
    assert scales["base_model.model.model.layers.1.self_attn.q_proj"] == 9 / 5
    assert scales["base_model.model.model.layers.0.self_attn.q_proj"] == (9 / 5 if key == "q_proj" else 6 / 3)
