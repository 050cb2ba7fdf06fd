"""Any task of lm-evaluation-harness as a domain: its words, its splits, its accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from transformers import PreTrainedTokenizerBase

from lalora import LaloraError
from lalora.domains import HarnessTask, examples, harness_tasks, is_here, items, load_domain, task_rows
from lalora.domains.known_tasks import known_task
from lalora.domains.task_files import load_task
from lalora.text import Example

QUIZ: dict[str, Any] = {
    "task": "quiz",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"train": "train.jsonl", "test": "test.jsonl"}},
    "training_split": "train",
    "test_split": "test",
    "output_type": "multiple_choice",
    "description": "A quiz.\n\n",
    "doc_to_text": "Q: {{question.strip()}}\nA:",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "{{right}}",
    "metric_list": [{"metric": "acc"}],
    "metadata": {"version": 1.0},
}


def asked(number: int, right: int | None = None) -> dict[str, Any]:
    chosen = number % 3 if right is None else right
    return {"id": number, "question": f" Who sat {number}? ", "options": ["a cat", "a dog", "the mat"], "right": chosen}


def write(folder: Path, task: dict[str, Any], **files: list[dict[str, Any]]) -> str:
    folder.mkdir(exist_ok=True, parents=True)
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / f"{task['task']}.yaml"
    path.write_text(yaml.safe_dump(task))
    return str(path)


def by_the_harness(task: Any, doc: Any) -> set[tuple[str, str]]:
    """What the harness asks of a row whose right answers it counts as right."""
    context = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    requests = task.construct_requests(doc=doc, ctx=context, metadata=("", 0, 1))
    assert task.OUTPUT_TYPE == "multiple_choice"
    found = set()
    for request in requests:
        likely = [(-1.0, True) if other is request else (-900.0, False) for other in requests]
        if task.process_results(doc, likely)["acc"] == 1.0:
            found.add(request.args)
    return found


def harness(path: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Build a task by the harness alone."""
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(Path(path).parent)
    (task,) = TaskManager(include_defaults=False).load([path])["tasks"].values()
    return task


def test_a_file_is_worded_as_the_harness_words_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write(tmp_path, QUIZ, train=[asked(n) for n in range(5)], test=[asked(n) for n in range(3, 9)])
    data = load_domain("mine", place)
    assert (data.domain.role, data.domain.metric, is_here("mine", place)) == ("source", "acc,none", True)
    # 3 and 4 are learned, and so not scored.
    assert sorted(row["id"] for row in data.train) == [0, 1, 2, 3, 4]
    assert sorted(row["id"] for row in data.test) == [5, 6, 7, 8]
    assert data.note == "mine: 2 rows that also occur in the training rows are not scored."
    worded = {row["id"]: example for row, example in zip(data.test, examples(data.domain, data.test), strict=True)}
    assert worded[5] == Example("A quiz.\n\nQ: Who sat 5?\nA:", " the mat")
    assert worded[5].where == f"{tmp_path / 'test.jsonl'}:3"
    task = harness(place, monkeypatch)
    for doc in task.test_docs():
        if doc["id"] in worded:
            assert by_the_harness(task, doc) == {(worded[doc["id"]].prompt, worded[doc["id"]].completion)}


def test_the_same_question_is_on_one_side_whatever_else_a_row_has(tmp_path: Path) -> None:
    task = QUIZ | {"training_split": None, "dataset_kwargs": {"data_files": {"test": "test.jsonl"}}}
    rows = [asked(n % 12) | {"id": n, "right": n % 3} for n in range(48)]
    place = write(tmp_path, task, test=[*rows, {**rows[0], "options": ["the mat", "a cat", "a dog"]}])
    data = load_domain("mine", place)
    learned, scored = ({row["question"] for row in side} for side in (data.train, data.test))
    assert learned.isdisjoint(scored)
    assert len(data.train) + len(data.test) == 49
    assert min(len(data.train), len(data.test)) > 8
    assert "mine: the task" in str(data.note)
    assert "is divided; a score on a part of it is not comparable with published ones" in str(data.note)
    assert load_domain("other", place).test == data.test
    assert len(load_domain("mine", place, "held-out").test) == 49


def test_validation_is_learned_where_test_is_scored_and_there_is_no_training(tmp_path: Path) -> None:
    files = {"data_files": {"validation": "validation.jsonl", "test": "test.jsonl"}}
    task = {**QUIZ, "dataset_kwargs": files, "training_split": None, "validation_split": "validation"}
    place = write(tmp_path, task, validation=[asked(n) for n in range(4)], test=[asked(n) for n in range(4, 9)])
    data = load_domain("mine", HarnessTask(task=place), "target")
    assert {row["id"] for row in data.train} == {0, 1, 2, 3}


def test_rows_without_a_right_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    place = write(
        tmp_path, QUIZ | {"doc_to_target": "right"}, train=[asked(0), asked(1, -1)], test=[asked(2), asked(3, -1)]
    )
    data = load_domain("mine", place)
    assert (len(data.train), len(data.test)) == (1, 1)
    assert data.note == "mine: 2 rows without a right answer are left out."


KINDS: dict[str, tuple[dict[str, Any], Example, str | None]] = {
    "generated": (
        {"output_type": "generate_until", "doc_to_target": "{{options[right]}}", "doc_to_choice": None,
         "metric_list": [{"metric": "exact_match"}, {"metric": "f1"}],
         "generation_kwargs": {"until": ["\n"], "top_k": 3},
         "filter_list": [
             {"name": "strict", "filter": [{"function": "take_first"}]},
             {"name": "flexible", "filter": [{"function": "lowercase"}, {"function": "take_first"}]}
         ]},
        Example("A quiz.\n\nQ: Who sat 4?\nA:", " a dog", ends=True), "exact_match,flexible",
    ),
    "begun": (
        {"output_type": "generate_until", "doc_to_target": "{{options}}", "doc_to_choice": None,
         "gen_prefix": "It is", "metric_list": [{"metric": "f1"}]},
        Example("A quiz.\n\nQ: Who sat 4?\nA: It is", " a cat", ends=True), "exact_match,none",
    ),
    "continued": (
        {"output_type": "loglikelihood", "doc_to_target": " {{options[right]}}", "doc_to_choice": None,
         "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]},
        Example("A quiz.\n\nQ: Who sat 4?\nA:", " a dog"), "acc,none",
    ),
    "text": (
        {"output_type": "loglikelihood_rolling", "doc_to_target": "question", "doc_to_text": "", "doc_to_choice": None,
         "metric_list": [{"metric": "word_perplexity"}]},
        Example("", " Who sat 4? "), None,
    ),
    "the blank": (
        {"doc_to_text": "right", "doc_to_target": "{{question.strip()}}", "description": ""},
        Example("a dog", " Who sat 4?"), "acc,none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task(kind: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    changes, expected, metric = KINDS[kind]
    place = write(tmp_path, QUIZ | changes, train=[asked(4)], test=[asked(5)])
    data = load_domain("mine", place)
    (example,) = examples(data.domain, data.train)
    assert (example, data.domain.metric) == (expected, metric)
    (item,) = items(data.domain, data.train, tokenizer)
    told = tokenizer.decode([label for label in item["labels"] if label != -100])
    assert told == example.completion + ("<eos>" if example.ends else "")
    tasks = harness_tasks([data], tmp_path / "tasks")
    assert list(tasks) == (["mine"] if metric else [])
    if metric:
        task = load_task(tmp_path / "tasks", tasks["mine"].name)
        (doc,) = task.test_docs()
        assert (tasks["mine"].metric, doc["id"]) == (metric, 5)
        if kind == "the blank":
            assert by_the_harness(task, doc) == {("the mat", " Who sat 5?")}


def test_prompts_that_fill_the_context_are_left_out(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    long = asked(1) | {"question": "so " * 300}
    place = write(tmp_path, QUIZ, train=[asked(0), long, asked(2)], test=[asked(3)])
    data = load_domain("mine", place)
    tokenizer.model_max_length = 100
    assert len(items(data.domain, data.train, tokenizer)) == 2
    with pytest.raises(LaloraError, match="mine: no prompt of 1 rows leaves room in 100 tokens"):
        items(data.domain, [row for row in data.train if row["id"] == 1], tokenizer)


def test_large_splits_are_drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_rows, "_MOST", 6)
    place = write(tmp_path, QUIZ, train=[asked(n) for n in range(20)], test=[asked(n) for n in range(20, 24)])
    data = load_domain("mine", place)
    assert (len(data.train), len(data.test)) == (6, 4)
    assert data.note == "mine: 6 of the 20 rows of the split train are used."
    assert load_domain("mine", place).train == data.train


PASSAGE = {"passage": "The cat sat on the mat.", "idx": 0}
OF_THE_HUB: dict[str, list[dict[str, Any]]] = {
    "boolq": [PASSAGE | {"question": f"did the cat sit {n} times", "label": n % 2} for n in range(8)],
    "piqa": [{"goal": f"Sit {n}.", "sol1": "Sit.", "sol2": "Run.", "label": n % 2} for n in range(8)],
    "sciq": [
        {"question": f"What is {n}?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "support": " It is. ",
         "correct_answer": f"n{n}"}
        for n in range(8)
    ],
    "winogrande": [
        {"sentence": f"The cat {n} saw the dog so _ ran.", "option1": "cat", "option2": "dog", "answer": str(n % 2 + 1)}
        for n in range(8)
    ],
    "hellaswag": [
        {"activity_label": "Cooking", "ctx_a": f"A man holds {n}.", "ctx_b": "he", "ctx": "", "source_id": f"f{n}",
         "endings": ["sings.", "flies [step] away.", "is.", "was."], "label": str(n % 4)}
        for n in range(8)
    ],
    "mmlu_anatomy": [
        {"question": f"What is {n}? ", "choices": ["w", "x", "y", "z"], "answer": n % 4} for n in range(16)
    ],
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Serves the data of one task as the hub's library does."""
    usual = datasets.load_dataset

    def serve(task: str) -> None:
        def load_dataset(path: str, name: str | None = None, **given: Any) -> Any:
            if path == "json":
                return usual(path, name, **given)
            splits = ["dev", "test"] if task == "mmlu_anatomy" else ["train", "validation", "test"]
            rows = {split: OF_THE_HUB[task][n :: len(splits)] for n, split in enumerate(splits)}
            return datasets.DatasetDict({split: datasets.Dataset.from_list(some) for split, some in rows.items()})

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(task_rows, "why_unavailable", lambda *_: None)

    return serve


@pytest.mark.parametrize("name", OF_THE_HUB)
def test_a_task_that_comes_with_the_harness_by_name(name: str, hub: Callable[[str], None], tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    hub(name)
    assert not is_here("mine", f"task:{name}")
    data = load_domain("mine", f"task:{name}")
    assert data.train
    assert data.test
    path = known_task(name).content["include"]
    (task,) = TaskManager(include_defaults=False).load([path])["tasks"].values()
    every = set()
    for docs in (task.training_docs, task.validation_docs, task.test_docs):
        for doc in docs() or []:
            every |= by_the_harness(task, doc)
    for row, example in zip(data.train + data.test, examples(data.domain, data.train + data.test), strict=True):
        assert (example.prompt, example.completion) in every, row
    scored = {(one.prompt, one.completion) for one in examples(data.domain, data.test)}
    again = load_task(tmp_path, harness_tasks([data], tmp_path)["mine"].name)
    assert set().union(*(by_the_harness(again, doc) for doc in again.test_docs())) == scored
    assert len(again.test_docs()) == len(data.test)


def test_a_file_whose_data_are_on_the_hub(
    tmp_path: Path, hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = QUIZ | {"dataset_path": "somebody/boolq", "dataset_kwargs": {"trust_remote_code": False}}
    task |= {"doc_to_text": "{{question}}", "doc_to_choice": ["no", "yes"], "doc_to_target": "label", "description": ""}
    place = write(tmp_path, task)
    hub("boolq")
    assert not is_here("mine", place)
    data = load_domain("mine", place)
    assert (len(data.train), len(data.test)) == (3, 2)
    (example,) = examples(data.domain, [row for row in data.train if row["question"] == "did the cat sit 3 times"])
    assert example == Example("did the cat sit 3 times", " yes")
    monkeypatch.setattr(task_rows, "why_unavailable", lambda *_: "there is no such repository")
    with pytest.raises(
        LaloraError, match="whose data are 'somebody/boolq' on the Hugging Face hub .there is no such re"
    ):
        load_domain("mine", place)


REFUSED = {
    "boolqq": "lm-eval has no task 'boolqq': did you mean 'boolq'?",
    "mmlu": "mmlu is a group of tasks in lm-eval: give each of its tasks as a domain of its own, such as mmlu_",
    "ai2_arc": "ai2_arc is a group of tasks in lm-eval: give each of its tasks as a domain of its own",
    "squadv2": "the task squadv2 of lm-eval is written in Python and has no templates for its rows",
    "humaneval": "the task humaneval of lm-eval runs the code that a model writes",
    "../boolq": "lm-eval has no task '../boolq'",
}


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_what_is_no_task_or_cannot_be_a_domain(name: str, message: str) -> None:
    with pytest.raises(LaloraError) as caught:
        load_domain("mine", HarnessTask(task=name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_that_cannot_be_reached_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_rows, "why_unavailable", lambda *_: "the hub cannot be reached")
    with pytest.raises(LaloraError, match="mine: cannot load the task boolq, whose data are 'aps/super_glue' on the "):
        load_domain("mine", "task:boolq")


def test_a_known_domain_keeps_its_name(tmp_path: Path) -> None:
    place = write(tmp_path, QUIZ, train=[asked(0)], test=[asked(1)])
    for name in ("winogrande", "english"):
        with pytest.raises(LaloraError, match=f"{name} is a domain of its own: give the task .* another name"):
            load_domain(name, place)
    with pytest.raises(LaloraError, match="'my quiz' is no name for a domain"):
        load_domain("my quiz", place)


def test_a_study_with_tasks_in_every_role(
    run: Callable[..., tuple[int, str, str]], recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    rows = [
        {"id": n, "question": f"Who sat {n % 10} {n // 10} ?", "options": ["the cat", "the dog"], "right": n % 2}
        for n in range(30)
    ]
    write(tmp_path, QUIZ, train=rows[:15], test=rows[15:])
    other = {"output_type": "generate_until", "doc_to_target": "{{options[right]}}", "metric_list": [], "task": "said"}
    write(tmp_path, {key: value for key, value in (QUIZ | other).items() if key != "doc_to_choice"})
    text = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "question", "task": "text"}
    write(tmp_path, QUIZ | text)
    recipe = recipe_file(
        sources={"quiz": {"task": "quiz.yaml"}}, target={"said": "said.yaml"}, held_out={"seen": {"task": "text.yaml"}},
        accuracy_rows=4, target_accuracy_rows=2, max_new_tokens=3,
    )  # fmt: skip
    status, _, err = run("run", recipe, "--set", "grid=[{method: lalora, strength: 1}]", "--out", tmp_path / "study")
    assert status == 0, err
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    final = results["runs"][0]["final"]
    assert set(final["accuracy"]) == {"quiz", "said"}
    assert set(final["kl"]) == {"quiz", "seen"}
    assert "quiz" in (tmp_path / "study" / "report.html").read_text()


def test_the_command_line_takes_tasks_and_kinds(
    run: Callable[..., tuple[int, str, str]], mine: dict[str, Any], tmp_path: Path, refused: Callable[..., str]
) -> None:
    rows = [
        {"id": n, "question": f"Who sat {n % 10} {n // 10} ?", "options": ["the cat", "the dog"], "right": n % 2}
        for n in range(30)
    ]
    quiz = write(tmp_path, QUIZ, train=rows[:15], test=rows[15:])
    common = ("--rank", 2, "--dtype", "float32", "--rows", 4)
    chosen = "{path: test.jsonl, kind: multiple-choice, choices: options, answer: right}"
    sources = ("--source", f"quiz={quiz}", "--source", f"other={chosen}")
    status, _, err = run("fit", mine["model"], *sources, *common, "--out", tmp_path / "laplace")
    assert status == 0, err
    target = ("--target", f"quiz={{task: {quiz}}}", "--steps", 2, "--scored-rows", 3, "--dtype", "float32", "--rank", 2)
    status, _, err = run("train", mine["model"], *target, "--out", tmp_path / "adapter")
    assert status == 0, err
    measured = ("--dtype", "float32", "--rows", 4, "--accuracy-rows", 4, "--out", "found.json")
    status, _, err = run("evaluate", mine["model"], tmp_path / "adapter", *sources, *measured)
    assert status == 0, err
    assert set(json.loads((tmp_path / "found.json").read_text())["adapter"]["accuracy"]) == {"quiz", "other"}
    for place, message in {
        "{path: test.jsonl, kind: chats}": "'kind' is 'chats'",
        "{path: test.jsonl": "not valid YAML",
        "{task: 3}": "'task' is 3",
        "there/is.yaml": "there/is.yaml: cannot be read as a task",
        "task:boolqq": "did you mean 'boolq'?",
    }.items():
        assert message in refused("fit", mine["model"], "--source", f"quiz={place}", *common, "--out", tmp_path / "no")
