"""Task accuracy through lm-evaluation-harness, on the model as it lies in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Mapping
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from lalora.domains import ScoredTask
from lalora.domains.task_files import require_own_tasks
from lalora.domains.templates import in_sandbox
from lalora.errors import LaloraError
from lalora.extras import named_if_missing
from lalora.text import without_appended
from lalora.undisturbed import undisturbed


def score_accuracy(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Mapping[str, ScoredTask],
    folder: Path,
    max_new_tokens: int = 128,
    batch_size: int = 8,
) -> dict[str, float]:
    """Let the harness score a model, without examples in the prompt and with greedy answers.

    The model is left unchanged: modes, trainability, random state.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer, with a pad token.
        tasks: The harness task that scores each domain, as `domains.harness_tasks` made them.
        folder: The folder that holds these tasks.
        max_new_tokens: Length of a generated answer, in tokens.
        batch_size: Rows a forward pass; answers are generated for four times as many at once.

    Returns:
        The metric of each domain, from 0 to 1.

    Raises:
        LaloraError: The folder holds tasks that lalora did not write, or a task does not score what it names.
    """
    require_own_tasks(tasks, folder)
    # The harness takes seconds to import; only a study that asks for accuracy waits for it.
    with named_if_missing():
        from lm_eval import evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

    # The harness counts a context's tokens with what the tokenizer appends, and lets the model answer after it.
    bare = without_appended(tokenizer)
    # `evaluate`, and not `simple_evaluate`, which besides seeds the process, asks git and collects the machine's state.
    with undisturbed(model), in_sandbox(), contextlib.redirect_stderr(io.StringIO()):
        names = [task.name for task in tasks.values()]
        loaded = TaskManager(include_path=str(folder), include_defaults=False).load(names)["tasks"]
        for task in loaded.values():
            task.set_config("num_fewshot", 0)
            if task.OUTPUT_TYPE == "generate_until":
                task.set_config("generation_kwargs", {"max_gen_toks": max_new_tokens, "do_sample": False}, update=True)
        generated = {name: task for name, task in loaded.items() if task.OUTPUT_TYPE == "generate_until"}
        chosen = {name: task for name, task in loaded.items() if name not in generated}
        results: dict[str, dict[str, float]] = {}
        # A step of generation reads all weights for one token a row: more rows cost next to nothing.
        for part, rows in ((chosen, batch_size), (generated, 4 * batch_size)):
            if part:
                # Choices are told apart by sums of log-probabilities: bfloat16 would round these to a tenth of a nat.
                with _ties_kept(model):
                    harness = HFLM(pretrained=model, tokenizer=bare, batch_size=rows, softmax_dtype="float32")
                results |= evaluate(harness, {"tasks": part}, bootstrap_iters=0, log_samples=False)["results"]
    for domain, task in tasks.items():
        if task.metric not in results[task.name]:
            raise LaloraError(f"{domain}: the harness scored no {task.metric.partition(',')[0]}, which its task names")
    return {domain: float(results[task.name][task.metric]) for domain, task in tasks.items()}


@contextlib.contextmanager
def _ties_kept(model: torch.nn.Module) -> Generator[None, None, None]:
    # The harness ties the weights of whatever it is given, which fails where the adapter trains a copy of a tied head.
    vars(model)["tie_weights"] = lambda: None
    try:
        yield
    finally:
        del vars(model)["tie_weights"]
