"""One row of metrics: what a model knows of every domain at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lalora.domains import DomainData, ScoredTask, harness_tasks, items, short_items
from lalora.domains.domain import Role
from lalora.errors import LaloraError
from lalora.evaluation.harness import score_accuracy
from lalora.evaluation.kept_base import KeptBase
from lalora.scoring import score_loss, score_text
from lalora.text import batches

Row = dict[str, Any]
Item = dict[str, list[int]]


@dataclass(frozen=True)
class EvalSet:
    """Everything that models are measured on, prepared once so that all are measured alike.

    Attributes:
        text: Batches of scored rows by domain.
        tasks: Harness task of each domain whose accuracy is measured.
        folder: Where these tasks lie.
        max_new_tokens: Length of a generated answer, in tokens.
        batch_size: Rows a forward pass.
        roles: What each domain is here.
        tested: How many rows accuracy is measured on, by domain.
    """

    text: Mapping[str, Sequence[Mapping[str, Tensor]]]
    tasks: Mapping[str, ScoredTask]
    folder: Path
    max_new_tokens: int
    batch_size: int
    roles: Mapping[str, Role] = field(default_factory=dict)
    tested: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        data: Sequence[DomainData],
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        scored_rows: int,
        accuracy_rows: int = 0,
        target_accuracy_rows: int = 0,
        max_length: int | None = None,
        max_new_tokens: int = 128,
        batch_size: int = 8,
    ) -> EvalSet:
        """Tokenize the scored rows and write the harness tasks.

        Args:
            data: The domains; only their scored rows are used.
            tokenizer: The model's tokenizer.
            folder: Where the harness tasks are written.
            scored_rows: Rows of each domain for loss and KL.
            accuracy_rows: Rows of each source for accuracy; 0 leaves it out.
            target_accuracy_rows: The same for the target.
            max_length: Target rows of more tokens than this are left out; `None` for the context alone.
            max_new_tokens: Length of a generated answer, in tokens.
            batch_size: Rows a forward pass.

        Returns:
            The set.

        Raises:
            LaloraError: If no target row is short enough, or a row does not fit the model's context.
        """
        chosen, text = [], {}
        for one in data:
            accuracy = target_accuracy_rows if one.domain.role == "target" else accuracy_rows
            longest = max_length if one.domain.role == "target" else None
            rows, found = _fitting(one, tokenizer, max(scored_rows, accuracy), longest)
            # Rows of like length side by side: padding is computed too.
            alike = sorted(found[:scored_rows], key=lambda item: len(item["input_ids"]))
            text[one.domain.name] = batches(alike, batch_size, tokenizer.pad_token_id)
            if one.domain.metric is not None and accuracy > 0:
                chosen.append(replace(one, test=rows[:accuracy]))
        tasks = harness_tasks(chosen, folder)
        roles = MappingProxyType({one.domain.name: one.domain.role for one in data})
        tested = MappingProxyType({one.domain.name: len(one.test) for one in chosen})
        return cls(MappingProxyType(text), MappingProxyType(tasks), folder, max_new_tokens, batch_size, roles, tested)

    @property
    def drifting(self) -> dict[str, Sequence[Mapping[str, Tensor]]]:
        """The domains that drift is measured on: all but the target."""
        return {name: text for name, text in self.text.items() if self.roles[name] != "target"}


def evaluate(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    evalset: EvalSet,
    step: int,
    accuracy: bool,
    base: torch.nn.Module | None = None,
    kept: KeptBase | None = None,
) -> dict[str, Any]:
    """Measure a model on everything in the set.

    Args:
        model: A PEFT LoRA model.
        tokenizer: Its tokenizer.
        evalset: What to measure it on.
        step: The optimizer step the model is at.
        accuracy: Whether to measure accuracy too, which takes longer than loss and KL.
        base: As in `score_text`.
        kept: What the base of this very model says of the set, which then is not computed again.

    Returns:
        A row of metrics that JSON can hold: `loss` and (but for the target) `kl` in nats per token and `accuracy` from
        0 to 1, by domain, and their macro means over the domains of a role, such as `source_loss`; what was not
        measured has no key. At step 0 also `rows` and `accuracy_rows`: on how many that is, by domain.
    """
    loss, kl = {}, {}
    for domain, text in evalset.text.items():
        if evalset.roles[domain] == "target":
            # Drift is what the target is learned for: only its loss tells something.
            loss[domain] = score_loss(model, text)
        else:
            score = score_text(model, text, base) if kept is None else kept.score(domain)
            loss[domain], kl[domain] = score.loss, score.kl
    row: dict[str, Any] = {"step": step, "kind": "eval", "loss": loss, "kl": kl}
    if step == 0:
        row["rows"] = {name: sum(len(batch["input_ids"]) for batch in text) for name, text in evalset.text.items()}
        if evalset.tested:
            row["accuracy_rows"] = dict(evalset.tested)
    means = {
        "target_loss": _mean_over("target", loss, evalset),
        "source_loss": _mean_over("source", loss, evalset),
        "heldout_loss": _mean_over("held-out", loss, evalset),
        "source_kl": _mean_over("source", kl, evalset),
        "heldout_kl": _mean_over("held-out", kl, evalset),
    }
    if accuracy and evalset.tasks:
        right = score_accuracy(
            model, tokenizer, evalset.tasks, evalset.folder, evalset.max_new_tokens, evalset.batch_size
        )
        row["accuracy"] = right
        means["source_accuracy"] = _mean_over("source", right, evalset)
        means["target_accuracy"] = _mean_over("target", right, evalset)
    return row | {name: mean for name, mean in means.items() if mean is not None}


def _fitting(
    data: DomainData, tokenizer: PreTrainedTokenizerBase, count: int, longest: int | None
) -> tuple[list[Row], list[Item]]:
    if longest is None:
        rows = data.test[:count]
        return rows, items(data.domain, rows, tokenizer)
    short = dict(list(short_items(data.domain, data.test, tokenizer, longest).items())[:count])
    if not short:
        raise LaloraError(f"{data.domain.name}: no row of {data.origin} that is scored has {longest} tokens or fewer")
    return [data.test[number] for number in short], list(short.values())


def _mean_over(role: Role, values: Mapping[str, float], evalset: EvalSet) -> float | None:
    of_role = [value for domain, value in values.items() if evalset.roles[domain] == role]
    return sum(of_role) / len(of_role) if of_role else None
