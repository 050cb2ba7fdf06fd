"""YAML files of tasks from strangers: nothing of them runs, and one line says what is refused."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostile.test_data import VALUES
from lalora import LaloraError
from lalora.domains import harness_tasks, load_domain

ROWS = [{"question": f"Who sat {n}?", "options": ["a cat", "a dog"], "right": n % 2} for n in range(8)]
SOUND: dict[str, Any] = {
    "task": "quiz",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "{{right}}",
}
CODE = "which lalora lets only tasks do that come with lm-eval: leave it out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data, and a module that leaves a trace when it is imported or called."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef words(*_): return 'x'\n")
    return tmp_path


def refused(folder: Path, text: str) -> str:
    path = folder / "quiz.yaml"
    path.write_text(text)
    with pytest.raises(LaloraError) as caught:
        load_domain("mine", str(path))
    assert not (folder / "ran").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_sound_one_is_read(folder: Path) -> None:
    (folder / "quiz.yaml").write_text(yaml.safe_dump(SOUND))
    assert load_domain("mine", str(folder / "quiz.yaml"), "held-out").test


TAGS = {
    "a function": ("doc_to_text: !function evil.words\n", f"line 10: '!function' runs Python code, {CODE}"),
    "a function within": ("metric_list:\n  - metric: !function evil.words\n", "line 11: '!function' runs Python code"),
    "an object": (
        "description: !!python/object/apply:os.system ['touch ran']\n",
        "/object/apply:os.system' runs",
    ),
    "a name": ("description: !!python/name:evil.words\n", "python/name:evil.words' runs"),
    "any other": ("description: !other x\n", "'!other' runs"),
}


@pytest.mark.parametrize("case", TAGS)
def test_no_tag_names_code(case: str, folder: Path) -> None:
    more, message = TAGS[case]
    text = yaml.safe_dump({key: value for key, value in SOUND.items() if key != "doc_to_text"}, sort_keys=False)
    assert message in refused(folder, text + more)


KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "a class": ({"class": "evil.words"}, f"line 11: 'class' runs Python code, {CODE}"),
    "rows": ({"process_docs": "evil.words"}, "'process_docs' runs Python code"),
    "results": ({"process_results": "evil.words"}, "'process_results' runs Python code"),
    "a data set": ({"custom_dataset": "evil.words"}, "'custom_dataset' runs Python code"),
    "a prompt": ({"use_prompt": "evil.yaml:x"}, "'use_prompt' runs Python code"),
    "unsafe": ({"unsafe_code": True}, "'unsafe_code' runs Python code"),
    "trust": ({"dataset_kwargs": {"trust_remote_code": True}}, "'trust_remote_code' runs Python code"),
    "a metric": ({"metric_list": [{"metric": "./evil.py", "hf_evaluate": True}]}, "'hf_evaluate' runs Python code"),
    "a filter": (
        {"filter_list": [{"name": "x", "filter": [{"function": "custom", "filter_fn": "evil.words"}]}]},
        "its function has to be one of regex, multi_choice_regex, take_first",
    ),
    "a script": ({"dataset_path": "./evil.py", "dataset_kwargs": {}}, "dataset_path is './evil.py': it can be"),
    "pickles": ({"dataset_path": "pandas"}, "data_files go with dataset_path: json or parquet"),
    "pickles there": ({"dataset_path": "pandas", "dataset_kwargs": {}}, "dataset_path is 'pandas': it can be json or"),
    "an option": ({"dataset_kwargs": {"data_files": "rows.jsonl", "cache_dir": "x"}}, "unknown key 'dataset_kwargs"),
    "an address": ({"dataset_kwargs": {"data_files": "http://x.org/r.jsonl"}}, "'http://x.org/r.jsonl' is no file"),
    "a chain": ({"dataset_kwargs": {"data_files": "zip://r::x.zip"}}, "is no file here"),
    "no file": ({"dataset_kwargs": {"data_files": {"test": "no.jsonl"}}}, "there is no data file 'no.jsonl', from"),
    "a pickle": ({"dataset_kwargs": {"data_files": {"test": "evil.py"}}}, "'evil.py' has to be one of .jsonl"),
    "no files": ({"dataset_kwargs": {}}, "dataset_path: json needs data_files in dataset_kwargs"),
    "a split": ({"test_split": "dev"}, "test_split is 'dev', and data_files have test"),
    "no split": ({"test_split": None}, "has neither a test_split nor a validation_split"),
    "unknown": ({"colour": "red"}, "unknown key 'colour'"),
    "a type": ({"doc_to_choice": [1, 2]}, "'doc_to_choice"),
    "a group": ({"task": ["boolq", "piqa"]}, "is a group of tasks: give each of its tasks as a domain of its own"),
    "missing": ({"doc_to_target": None}, "'doc_to_target"),
    "itself": ({"include": "quiz.yaml"}, "includes itself"),
    "a column": ({"doc_to_text": "{{passage}}"}, "'passage' is undefined"),
    "syntax": ({"doc_to_text": "{% for %}"}, "mine: "),
}  # fmt: skip


@pytest.mark.parametrize("case", KEYS)
def test_what_a_key_may_not_be_is_named(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, message = KEYS[case]
    monkeypatch.chdir(folder)
    assert message in refused(folder, yaml.safe_dump(SOUND | changes, sort_keys=False))


ESCAPES = [
    "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].popen('touch ran').read() }}",
    "{{ '{0.__class__}'.format(question) }}",
    "{% for x in range(1000000000) %}{% endfor %}",
]


@pytest.mark.parametrize("key", ["doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"])
@pytest.mark.parametrize("template", ESCAPES)
def test_no_template_reaches_python(key: str, template: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    message = refused(folder, yaml.safe_dump(SOUND | {key: template}))
    assert "unsafe" in message or "Range too big" in message


def test_what_is_included_is_looked_at_as_well(folder: Path) -> None:
    (folder / "base.yaml").write_text(yaml.safe_dump(SOUND))
    (folder / "quiz.yaml").write_text("include: base.yaml\ntask: other\ndescription: A quiz.\n")
    data = load_domain("mine", str(folder / "quiz.yaml"), "held-out")
    assert data.domain.definition is not None
    assert data.domain.definition["description"] == "A quiz."
    (folder / "deeper").mkdir()
    (folder / "deeper" / "base.yaml").write_text("process_docs: !function evil.words\n")
    assert "deeper/base.yaml, line 1: '!function' runs" in refused(folder, "include: deeper/base.yaml\n")


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "large", "binary", "a list", "bombs"])
def test_what_is_no_file_of_a_task(kind: str, folder: Path) -> None:
    path = folder / "task.yaml"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "large":
        path.write_text("description: " + "x" * (1 << 19))
    elif kind == "binary":
        path.write_bytes(b"\xff\x00")
    elif kind == "a list":
        path.write_text("[a, b]")
    else:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        path.write_text("\n".join(lines))
    with pytest.raises(
        LaloraError, match=r"task\.yaml: (cannot be read as a task|a task is a mapping|more than 20,000 v)"
    ):
        load_domain("mine", str(path))


def test_odd_rows_are_worded_or_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kinds: list[dict[str, Any]] = [
        {"doc_to_target": "right"},
        {"doc_to_choice": "options", "doc_to_text": "question"},
        {"output_type": "generate_until", "doc_to_choice": None},
        {"output_type": "loglikelihood_rolling", "doc_to_target": "question", "doc_to_choice": None},
    ]
    ends = Counter[str]()
    for seed in range(40):
        chance = random.Random(seed)
        rows: list[dict[str, Any]] = json.loads(json.dumps(ROWS))
        for _ in range(chance.choice([1, 1, 2, 6])):
            chance.choice(rows)[chance.choice(["question", "options", "right", "new"])] = chance.choice(VALUES)
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "quiz.yaml").write_text(yaml.safe_dump(SOUND | chance.choice(kinds)))
        try:
            data = load_domain("mine", str(tmp_path / "quiz.yaml"), "held-out")
            harness_tasks([data], tmp_path / "tasks")
            ends["read"] += 1
        except LaloraError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 600
            ends["refused"] += 1
    assert min(ends["read"], ends["refused"]) > 8
    assert capfd.readouterr().err == ""
