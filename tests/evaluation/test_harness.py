"""Accuracy through the harness, on tiny models and tiny tasks."""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from lalora import LaloraError
from lalora.domains import DomainData, OwnRows, harness_tasks, load_domain
from lalora.evaluation import score_accuracy
from lalora.study import load_recipe, run_study
from tiny import llama, shake

Data = dict[str, DomainData]


def by_hand(model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: DomainData) -> float:
    """Choose by log-likelihood, of a choice as a whole (acc) or per character (acc_norm)."""
    right = 0
    for row in data.test:
        if data.domain.name == "winogrande":
            start, end = row["sentence"].split("_")
            texts = [(start + row[option], " " + end.strip()) for option in ("option1", "option2")]
            gold, lengths = int(row["answer"]) - 1, [1, 1]
        else:
            texts = [(f"Question: {row['question']}\nAnswer:", f" {choice}") for choice in row["choices"]["text"]]
            gold, lengths = 0, [len(choice) for choice in row["choices"]["text"]]
        scores = []
        for prompt, completion in texts:
            ids = torch.tensor([tokenizer.encode(prompt + completion)])
            start_of_completion = len(tokenizer.encode(prompt))
            with torch.no_grad():
                log_p = model.eval()(input_ids=ids).logits[0, :-1].log_softmax(-1)
            scores.append(float(log_p.gather(-1, ids[0, 1:, None])[start_of_completion - 1 :].sum()))
        right += max(range(len(texts)), key=lambda one: scores[one] / lengths[one]) == gold
    return right / len(data.test)


def test_multiple_choice_is_what_the_log_likelihoods_say(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    tasks = harness_tasks([data["winogrande"], data["arc_challenge"]], tmp_path)
    measured = score_accuracy(model, tokenizer, tasks, tmp_path, batch_size=3)
    assert measured == {name: by_hand(model, tokenizer, data[name]) for name in ("winogrande", "arc_challenge")}
    assert score_accuracy(model, tokenizer, tasks, tmp_path, batch_size=8) == measured


def test_multiple_choice_of_ones_own_is_scored_alike(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    rows = [{"q": row["question"], "of": row["choices"]["text"], "is": 0} for row in data["arc_challenge"].test]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = OwnRows(path=str(tmp_path / "rows.jsonl"), kind="multiple-choice", question="q", choices="of", answer="is")
    mine = load_domain("mine", given, "held-out")
    tasks = harness_tasks([mine], tmp_path / "tasks")
    measured = score_accuracy(model, tokenizer, tasks, tmp_path / "tasks", batch_size=3)
    assert measured == {"mine": by_hand(model, tokenizer, mine)}
    task = tmp_path / "tasks" / "lalora_mine.yaml"
    task.write_text(task.read_text() + "process_docs: !function evil.run\n")
    with pytest.raises(LaloraError, match="is no task that lalora wrote, and could run code"):
        score_accuracy(model, tokenizer, tasks, tmp_path / "tasks")


def test_generated_answers_are_short_greedy_and_matched_flexibly(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def generate(**arguments: Any) -> torch.Tensor:
        calls.append(arguments)
        answers = []
        for prompt in tokenizer.batch_decode(arguments["input_ids"], skip_special_tokens=True):
            number = int(prompt.split("How much is ")[1].split()[0])
            # 7 is answered wrongly; what follows a made-up next question does not count.
            answers.append(f" I say ${number + 2 + (number == 7)}. Question: 99?")
        made = tokenizer(answers, padding=True, return_tensors="pt")["input_ids"]
        return torch.cat([arguments["input_ids"], made], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    tasks = harness_tasks([data["gsm8k"]], tmp_path)
    assert score_accuracy(model, tokenizer, tasks, tmp_path, max_new_tokens=9, batch_size=2) == {"gsm8k": 0.75}
    for call in calls:
        assert call["do_sample"] is False
        assert call["max_length"] - call["input_ids"].shape[1] == 9
        assert call["attention_mask"].shape == call["input_ids"].shape


@pytest.mark.parametrize("domain", ["winogrande", "arc_challenge", "gsm8k"])
def test_what_a_tokenizer_appends_changes_no_score(
    domain: str, model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    appending = copy.deepcopy(tokenizer)
    end = (str(tokenizer.eos_token), int(tokenizer.eos_token_id))
    appending.backend_tokenizer.post_processor = TemplateProcessing(single=["$A", end[0]], special_tokens=[end])
    assert appending.encode("a")[-1] == end[1] != tokenizer.encode("a")[-1]
    seen: list[list[int]] = []

    def watch(module: torch.nn.Module, given: Any, named: dict[str, Any], output: Any) -> None:
        ids = named["input_ids"] if "input_ids" in named else given[0]
        seen.append(ids.tolist())

    handle = model.get_base_model().register_forward_hook(watch, with_kwargs=True)
    tasks = harness_tasks([data[domain]], tmp_path)
    results, inputs = [], []
    for one in (tokenizer, appending):
        results.append(score_accuracy(model, one, tasks, tmp_path, max_new_tokens=3))
        inputs.append(seen.copy())
        seen.clear()
    handle.remove()
    assert results[0] == results[1]
    assert inputs[0] == inputs[1] != []


def test_generation_really_runs_and_is_the_same_every_time(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    tasks = harness_tasks([data["gsm8k"]], tmp_path)
    first, second = (score_accuracy(model, tokenizer, tasks, tmp_path, max_new_tokens=5) for _ in range(2))
    assert first == second


def test_the_harness_is_quiet_and_leaves_the_model_as_it_came(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model.train()
    modes = [module.training for module in model.modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    tasks = harness_tasks([data["arc_challenge"], data["gsm8k"]], tmp_path)

    score_accuracy(model, tokenizer, tasks, tmp_path, max_new_tokens=3)

    assert capfd.readouterr() == ("", "")
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable


def test_a_trained_copy_of_a_tied_head_stays_apart(
    tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path
) -> None:
    base = llama(vocab_size=len(tokenizer), max_position_embeddings=512, tie_word_embeddings=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns that merging such a model is not exact
        model = get_peft_model(base, LoraConfig(r=3, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    shake(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tasks = harness_tasks([data["arc_challenge"]], tmp_path)
    assert score_accuracy(model, tokenizer, tasks, tmp_path) == {
        "arc_challenge": by_hand(model, tokenizer, data["arc_challenge"])
    }
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert "tie_weights" not in vars(model)


EVIL = "task: lalora_winogrande\ndataset_path: json\ndoc_to_text: !function evil.words\n"


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("lalora_winogrande.yaml", EVIL),
        ("aaa.yaml", EVIL),
        ("deep/er/zzz.yml", EVIL),
        ("lalora_other.yaml", "group: x\n"),
    ],
    ids=["in its place", "beside it", "below", "of a like name"],
)
def test_no_code_of_a_folder_runs(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, data: Data, tmp_path: Path, place: str, content: str
) -> None:
    tasks = harness_tasks([data["winogrande"]], tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    (path.parent / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef words(doc): return 'x'\n")
    with pytest.raises(LaloraError, match="is no task that lalora wrote, and could run code"):
        score_accuracy(model, tokenizer, tasks, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_folder_of_a_study_is_not_asked_for_tasks(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe, folder = load_recipe(recipe_file(accuracy_rows=2, grid=[{"method": "lora"}])), tmp_path / "study"
    tasks = folder / "shared" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "lalora_winogrande.yaml").write_text(EVIL)
    (tasks / "aaa.yaml").write_text(EVIL)
    (tasks / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef words(doc): return 'x'\n")
    run_study(recipe, folder, "", print)
    assert not (tmp_path / "ran").exists()
