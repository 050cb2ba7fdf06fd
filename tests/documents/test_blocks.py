"""Every block of Python in README.md, docs/ and the notebooks runs, on a tiny model; those of a page in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from datasets import Dataset

import lalora
from documents.pages import NOTEBOOKS, PAGES, ROOT, blocks
from tiny import shake

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"  # what the quickstart names, and the tiny model stands in for

# What a page's blocks take for granted; `name=other` gives what another name stands for.
USES = {
    "README.md": "source_batches target_batches unseen_batches model args data trl",
    "budgets.md": "lalora model args data source_batches unseen_source_batches",
    "check.md": "lalora model tokenizer",
    "method.md": "lalora torch base_model sources",
    "methods.md": "",
    "plugins.md": "base_model tokenizer",
    "publishing.md": "curvature",
    "quickstart.ipynb": "",
    "quickstart.md": "",
    "sequences.md": "lalora model=base_model first_base tasks general_batches unseen_general_batches train "
    "get_peft_model LoraConfig k n tuned task_batches keep",
    "softening.md": "lalora model target_batches source_batches unseen_target_batches unseen_source_batches",
    "source-text.md": "tokenizer dataset model chats trained_rows args data",
    "trainers.md": "lalora trl torch LoraConfig base_model tokenizer args data sources",
}

# Words of a block that is only compiled, and why.
ONLY_COMPILED = {
    ("engines.md", "fsdp_config"): "needs several processes; tests/engines trains in them",
    ("engines.md", "engine.backward"): "needs DeepSpeed; tests/engines trains under it",
    ("plugins.md", "swift.callbacks"): "tests/integrations/test_documented.py runs it against a double",
    ("plugins.md", "llamafactory"): "tests/integrations/test_documented.py runs it against a double",
    ("trainers.md", "LightningModule"): "tests/integrations/test_documented.py runs it against a double",
}

# Words of a block that does not go on where the one before it ended, and why.
STARTS_ANEW = {("sequences.md", "front.within"): "stands within the loop, before the merge"}

WORDS = ["the", "cat", "dog", "sat", "on", "mat", "so", "was", "glad", "and", "one", "two", "three", "four"]


def texts(count: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(len(WORDS), (count, 8), generator=generator).tolist()
    return [" ".join(WORDS[word] for word in row) for row in picked]


def task(count: int, seed: int) -> list[dict[str, str]]:
    return [{"prompt": text[:12], "completion": text[12:]} for text in texts(count, seed)]


def train(model: Any, batches: Iterable[Any]) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for batch in batches:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


class Given:
    """What the names stand for, each made where a page uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def base(self) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(self.folder)

    def trained(self) -> Any:
        model = peft.get_peft_model(self.base(), peft.LoraConfig(r=3, target_modules="all-linear"))
        shake(model, 0.02)
        return model

    def batches(self, seed: int, size: int = 12) -> Any:
        return lalora.source_batches(texts(size, seed), self.tokenizer, batch_size=4)

    def curvature(self) -> None:
        options: Any = {"curvature": "weight-kfac", "target_modules": "all-linear", "progress": False}
        lalora.fit(self.base(), {"general": self.batches(1)}, **options).save("curvature")

    def args(self) -> Any:
        return transformers.TrainingArguments(
            "out", max_steps=2, per_device_train_batch_size=1, report_to="none", use_cpu=True, disable_tqdm=True
        )

    def tokens(self) -> Any:
        rows = (self.tokenizer(text)["input_ids"] for text in texts(32, 3))
        return Dataset.from_list([{"input_ids": row, "labels": row} for row in rows])

    def makers(self) -> dict[str, Callable[[], Any]]:
        import trl

        return {
            "LoraConfig": lambda: peft.LoraConfig,
            "args": self.args,
            "base_model": self.base,
            "chats": lambda: task(12, 9),
            "curvature": self.curvature,
            "data": self.tokens,
            "dataset": lambda: Dataset.from_list(task(12, 5)),
            "first_base": self.base,
            "general_batches": lambda: self.batches(1),
            "get_peft_model": lambda: peft.get_peft_model,
            "k": lambda: 1,
            "keep": lambda: {"general": self.batches(1)},
            "lalora": lambda: lalora,
            "model": self.trained,
            "n": lambda: 2,
            "source_batches": lambda: self.batches(1),
            "sources": lambda: {"general": self.batches(1)},
            "target_batches": lambda: self.batches(3),
            "task_batches": lambda: self.batches(3),
            "tasks": lambda: {"a": self.batches(3), "b": self.batches(4)},
            "tokenizer": lambda: self.tokenizer,
            "torch": lambda: torch,
            "train": lambda: train,
            "trained_rows": lambda: task(12, 3),
            "trl": lambda: trl,
            "tuned": self.trained,
            "unseen_batches": lambda: self.batches(2),
            "unseen_general_batches": lambda: self.batches(2),
            "unseen_source_batches": lambda: self.batches(2),
            "unseen_target_batches": lambda: self.batches(6),
        }


def python_blocks(path: Path) -> list[tuple[int, str]]:
    return [(block.line, block.code) for block in blocks(path) if block.language == "python"]


def why(table: dict[tuple[str, str], str], page: str, code: str) -> str | None:
    return next((reason for (name, words), reason in table.items() if name == page and words in code), None)


WITH_PYTHON = [page for page in [*PAGES, *NOTEBOOKS] if python_blocks(page)]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_blocks_run(page: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in {"notes": 1, "unseen-notes": 2}.items():
        Path(f"{name}.txt").write_text("\n\n".join(texts(12, seed)), encoding="utf-8")
    Path("task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in task(32, 3)), encoding="utf-8")
    makers = Given(tiny_model).makers()
    used = [word.partition("=") for word in USES.get(page.name, "").split()]
    # Dataclasses look for the module of a class.
    scope: dict[str, Any] = {"__name__": "__main__"}
    given: dict[str, Any] = {}
    for line, code in python_blocks(page):
        if why(STARTS_ANEW, page.name, code):
            scope = dict(given)
        # Made anew for each block, which may train or change it, unless a block before has put something in its place.
        anew = {name: makers[other or name]() for name, _, other in used if scope.get(name) is given.get(name)}
        given |= anew
        scope |= anew
        compiled = compile(
            "\n" * (line - 1) + code.replace(HUB_ID, str(tiny_model)), page.relative_to(ROOT).as_posix(), "exec"
        )
        if why(ONLY_COMPILED, page.name, code) is None:
            exec(compiled, scope)


def test_the_tables_name_what_is_there() -> None:
    pages = {page.name: page for page in WITH_PYTHON}
    assert set(USES) | {name for name, _ in ONLY_COMPILED} == set(pages)
    for name, words in [*ONLY_COMPILED, *STARTS_ANEW]:
        assert [words in code for _, code in python_blocks(pages[name])].count(True) == 1, (name, words)
    for name, used in USES.items():
        code = "".join(code for _, code in python_blocks(pages[name]))
        assert not [word for word in used.split() if word.partition("=")[0] not in code], name
