"""A tiny model, tiny data and a tiny recipe: a study of seconds."""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import settings
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from hostile.sandbox import Sandbox
from lalora.cli.main import main
from lalora.study import Recipe, load_recipe, run_study
from tiny import llama

# A job in the background ignores Ctrl-C, and so would the processes that are sent one here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, and no limit on how long one takes: machines that run the tests are shared.
settings.register_profile("lalora", derandomize=True, deadline=None)
settings.load_profile("lalora")


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every later collection: Accelerate asks for one after each training."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """Do not wait for the disk: tests kill processes, never the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "so",
    "_",
    "was",
    "glad",
    "How",
    "much",
    "is",
    "and",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "It",
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a random Llama and a tokenizer with a token a word."""
    folder = tmp_path_factory.mktemp("model")
    tokens = ["<pad>", "<end>", "<unk>", *WORDS, *"0123456789.?#+"]
    words = Tokenizer(WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>", model_max_length=128
    )
    tokenizer.save_pretrained(folder)
    llama(3, vocab_size=len(tokens), max_position_embeddings=128, eos_token_id=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a JSON-Lines file for each of three domains."""
    folder = tmp_path_factory.mktemp("data")
    numbers = ["one", "two", "three", "four", "five", "six"]
    write_rows(
        folder / "winogrande.jsonl",
        [
            {"sentence": f"the {a} sat on the {b} so _ was glad .", "option1": a, "option2": b, "answer": "1"}
            for a in ["cat", "dog", *numbers]
            for b in ["mat", "cat", "dog", *numbers]
            if a < b
        ],
    )
    write_rows(
        folder / "gsm8k.jsonl",
        [
            {"question": f"How much is {a} and {b} ?", "answer": f"It is {a} + {b} .\n#### {i + j + 2}"}
            for i, a in enumerate(numbers)
            for j, b in enumerate(numbers)
        ],
    )
    write_rows(folder / "lambada.jsonl", [{"text": f"the {a} was on the {b} ."} for a in numbers for b in numbers])
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def document(tiny_model: Path, tiny_data: Path) -> dict[str, Any]:
    """A recipe for the tiny study."""
    return {
        "description": "tiny",
        "base": {
            "model": str(tiny_model),
            "dtype": "float32",
            "sources": {"winogrande": str(tiny_data / "winogrande.jsonl")},
            "target": {"gsm8k": str(tiny_data / "gsm8k.jsonl")},
            "held_out": {"lambada": str(tiny_data / "lambada.jsonl")},
            "rank": 2,
            "alpha": 4,
            "steps": 4,
            "batch_size": 2,
            "learning_rate": 0.01,
            "source_rows": 3,
            "scored_rows": 3,
            "evaluate_at": [2],
        },
        "grid": [{"method": "lora"}, {"method": "lalora", "strength": [1, 10]}],
        "seeds": [0],
    }


def write_recipe(path: Path, document: dict[str, Any], **changes: Any) -> str:
    """Write a recipe with changes to its base or its top level."""
    top = {key: changes.pop(key) for key in list(changes) if key in {*document, "select", "published"}}
    path.write_text(yaml.safe_dump({**document, "base": {**document["base"], **changes}, **top}, sort_keys=False))
    return str(path)


@pytest.fixture
def recipe_file(tmp_path: Path, document: dict[str, Any]) -> Callable[..., str]:
    """Writes the tiny recipe, with changes to its base or its top level."""
    return functools.partial(write_recipe, tmp_path / "tiny.yaml", document)


@pytest.fixture(scope="session")
def finished_study(
    document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Recipe]:
    """The tiny study, done once: its folder, its results, its recipe. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_recipe(
        folder / "tiny.yaml", document, accuracy_rows=2, target_accuracy_rows=2, max_new_tokens=3, curvature="diagonal"
    )
    recipe = load_recipe(path)
    return folder, run_study(recipe, folder, "lalora run tiny", print), recipe


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Computes with one thread, as each of several workers does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Runs calls and command lines in processes of their own."""
    with Sandbox() as running:
        yield running


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in an empty folder; returns exit status, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["lalora", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs a command that must end in exit status 2 and one line."""

    def command(*arguments: object) -> str:
        status, _, err = run(*arguments)
        assert status == 2
        assert "Traceback" not in err
        last = err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        return last

    return command


@pytest.fixture
def mine(tiny_model: Path, tiny_data: Path) -> dict[str, Any]:
    return {"model": tiny_model, "source": f"winogrande={tiny_data / 'winogrande.jsonl'}", "data": tiny_data}
