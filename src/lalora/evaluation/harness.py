"""Task accuracy through lm-evaluation-harness, on the model as it lies in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Mapping
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from lalora.domains import DOMAINS, MULTIPLE_CHOICE, OwnRows, domain_named
from lalora.domains.task_files import require_own_tasks
from lalora.extras import named_if_missing
from lalora.text import without_appended
from lalora.undisturbed import undisturbed


def score_accuracy(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Mapping[str, str],
    folder: Path,
    max_new_tokens: int = 128,
    batch_size: int = 8,
) -> dict[str, float]:
    """Let the harness score a model, without examples in the prompt and with greedy answers.

    The model is left unchanged: modes, trainability, random state.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer, with a pad token.
        tasks: Names of domains and of the harness tasks that score them, as `domains.harness_tasks` made them.
        folder: The folder that holds these tasks.
        max_new_tokens: Length of a generated answer, in tokens.
        batch_size: Rows a forward pass; answers are generated for four times as many at once.

    Returns:
        The metric of each domain, from 0 to 1.
    """
    require_own_tasks(folder)
    # The harness takes seconds to import; only a study that asks for accuracy waits for it.
    with named_if_missing():
        from lm_eval import evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

    # The harness counts a context's tokens with what the tokenizer appends, and lets the model answer after it.
    bare = without_appended(tokenizer)
    # `evaluate`, and not `simple_evaluate`, which besides seeds the process, asks git and collects the machine's state.
    with undisturbed(model), contextlib.redirect_stderr(io.StringIO()):
        loaded = TaskManager(include_path=str(folder), include_defaults=False).load(list(tasks.values()))["tasks"]
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
    return {domain: float(results[task][_column(domain)]) for domain, task in tasks.items()}


@contextlib.contextmanager
def _ties_kept(model: torch.nn.Module) -> Generator[None, None, None]:
    # The harness ties the weights of whatever it is given, which fails where the adapter trains a copy of a tied head.
    vars(model)["tie_weights"] = lambda: None
    try:
        yield
    finally:
        del vars(model)["tie_weights"]


def _column(domain: str) -> str:
    known = DOMAINS.get(domain) or domain_named(domain, rows=OwnRows(path="own", kind=MULTIPLE_CHOICE))
    metric = known.metric or ""
    return metric if "," in metric else f"{metric},none"
