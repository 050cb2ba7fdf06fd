"""Models and tokenizers from a folder, the hub and the embedded data."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lalora import hub
from lalora.assets import load_model, load_tokenizer, models
from lalora.errors import LaloraError
from lalora.hub import why_unavailable


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({"<unk>": 0, "<eos>": 1, "a": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>").save_pretrained(tmp_path)
    return tmp_path


def test_local_folder(model_folder: Path) -> None:
    model = load_model(str(model_folder), torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert not model.training
    tokenizer = load_tokenizer(str(model_folder))
    assert tokenizer.pad_token == "<eos>"


def test_pickled_weights_are_refused(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    torch.save({}, model_folder / "pytorch_model.bin")
    with pytest.raises(LaloraError, match="cannot load the model"):
        load_model(str(model_folder), torch.float32)


def test_tokenizer_without_an_end(model_folder: Path) -> None:
    words = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(model_folder)
    with pytest.raises(LaloraError, match="has no end-of-text token"):
        load_tokenizer(str(model_folder))


@pytest.mark.parametrize("load", [lambda name: load_model(name, torch.float32), load_tokenizer])
def test_what_is_not_there(load: object, tmp_path: Path) -> None:
    assert callable(load)
    with pytest.raises(LaloraError, match="there is no model folder"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(LaloraError, match=r"cannot load the (model|tokenizer) '.*tmp|cannot load"):
        (tmp_path / "empty").mkdir()
        load(str(tmp_path / "empty"))


def test_unreachable_hub_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "why_unavailable", lambda *_: "no route to host")
    with pytest.raises(LaloraError, match=r"no route to host.*embedded model \(smollm2-135m\)") as caught:
        load_model("lalora-tests/not-there", torch.float32)
    assert "\n" not in str(caught.value)


def test_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Api:
        def repo_info(self, repository: str, **_: object) -> None:
            asked.append(repository)
            raise RuntimeError("nobody home\nsecond line")

    monkeypatch.setattr(hub, "HfApi", Api)
    assert why_unavailable("a/b", "model") == "nobody home second line"
    assert asked == ["a/b"]


@pytest.mark.embedded
def test_embedded_model() -> None:
    model = load_model("smollm2-135m", torch.bfloat16)
    tokenizer = load_tokenizer("smollm2-135m")
    assert not hasattr(model.config, "quantization_config")
    assert model.config.eos_token_id == model.config.pad_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.pad_token_id == 2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    text = "Question: What is  23+2?\nAnswer: don't <<23+2=25>>25 é 字 ."
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text  # so no token was added in front either
    assert tokenizer.convert_ids_to_tokens(tokenizer("is  23")["input_ids"]) == ["is", "ĠĠ", "2", "3"]
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])


@pytest.mark.embedded
def test_embedded_model_can_be_saved_again(tmp_path: Path) -> None:
    model = load_model("smollm2-135m", torch.bfloat16)
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), torch.bfloat16)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
