"""The data of a study, tokenised: what is trained on, what methods may see, what is measured."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from lalora import processes
from lalora.domains import DomainData, Place, items, load_domain, short_items
from lalora.domains.domain import Role
from lalora.errors import LaloraError
from lalora.evaluation import EvalSet
from lalora.study.recipe.settings import RunSettings, StudySettings
from lalora.text import batches

Item = dict[str, list[int]]
_BATCH = 8


@dataclass(frozen=True)
class StudyData:
    """Data of all domains of a study.

    Attributes:
        tokenizer: Of the model; its `model_max_length` is the model's context.
        sources: What is to be kept.
        target: What is learned.
        held_out: What no method ever sees.
        training: The tokenised training rows of the target that are short enough.
        validation: Target and sources as they are scored to choose settings; none where nothing is chosen.
    """

    tokenizer: PreTrainedTokenizerBase
    sources: list[DomainData]
    target: DomainData
    held_out: list[DomainData]
    training: list[Item]
    validation: list[DomainData]

    @property
    def pad(self) -> int:
        """The token that fills short rows."""
        return int(self.tokenizer.pad_token_id)

    @property
    def domains(self) -> list[DomainData]:
        """All domains: sources, target, held-out."""
        return [*self.sources, self.target, *self.held_out]

    def training_items(self, settings: RunSettings) -> list[Item]:
        """Lay out the rows that a run sees, in order."""
        wanted = settings.steps * settings.accumulation * settings.batch_size * processes.world_size()
        shuffle = random.Random(settings.seed)
        laid: list[Item] = []
        while len(laid) < wanted:
            laid += shuffle.sample(self.training, len(self.training))
        return laid[:wanted]

    def chosen_batches(self, settings: RunSettings) -> dict[str, list[dict[str, Tensor]]]:
        """Batch the source rows that a method may see, by source."""
        named = settings.source_domains
        sources = [data for data in self.sources if named is None or data.domain.name in named]
        return source_batches(sources, self.tokenizer, settings.source_rows, settings.source_batch_size, settings.seed)

    def budget_batches(self, settings: RunSettings) -> dict[str, list[dict[str, Tensor]]]:
        """Batch source rows that a budget is measured on, by source: others than those a method may see."""
        found = {}
        for data in self.sources:
            seen = _drawn(data.train, settings.source_rows, f"{data.domain.name} {settings.seed}")
            others = [row for row in data.train if row not in seen]
            rows = _drawn(others, settings.budget_rows, f"budget {data.domain.name} {settings.seed}")
            if not rows:
                raise LaloraError(
                    f"{data.domain.name} ({data.origin}): no row is left to measure a budget on: "
                    f"{settings.source_rows} source_rows take all {len(data.train)}; give more rows, or fit and "
                    "train with fewer (--rows of lalora fit, --source-rows)"
                )
            found[data.domain.name] = _batched(data, rows, self.tokenizer, _BATCH)
        return found

    def target_batches(self, settings: RunSettings, rows: int) -> list[dict[str, Tensor]]:
        """Batch some of the target rows that a run trains on."""
        trained = {id(item): item for item in self.training_items(settings)}
        return batches(_drawn(list(trained.values()), rows, f"softening {settings.seed}"), _BATCH, self.pad)

    def source_batches(self, rows: int, batch_size: int, seed: int) -> dict[str, list[dict[str, Tensor]]]:
        """Batch rows of every source."""
        return source_batches(self.sources, self.tokenizer, rows, batch_size, seed)


def source_batches(
    sources: list[DomainData], tokenizer: PreTrainedTokenizerBase, rows: int, batch_size: int, seed: int
) -> dict[str, list[dict[str, Tensor]]]:
    """Choose and batch source rows."""
    return {
        data.domain.name: _batched(data, _drawn(data.train, rows, f"{data.domain.name} {seed}"), tokenizer, batch_size)
        for data in sources
    }


def _drawn(rows: Sequence[Any], count: int, seed: str) -> list[Any]:
    return random.Random(seed).sample(rows, min(count, len(rows)))


def _batched(
    data: DomainData, rows: Sequence[Any], tokenizer: PreTrainedTokenizerBase, size: int
) -> list[dict[str, Tensor]]:
    return batches(items(data.domain, rows, tokenizer), size, int(tokenizer.pad_token_id))


def prepare(study: StudySettings, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> StudyData:
    """Load and tokenise the data of a study."""
    limit_to_context(tokenizer, config)
    (target,), sources, validation = load_all(study.target, "target"), load_all(study.sources, "source"), []
    if study.validation_rows:
        parts = [data.held_back(study.validation_rows) for data in (target, *sources)]
        (target, *sources), validation = [rest for rest, _ in parts], [taken for _, taken in parts]
    training = training_items(target, tokenizer, study.max_length)
    return StudyData(tokenizer, sources, target, load_all(study.held_out, "held-out"), training, validation)


def training_items(target: DomainData, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> list[Item]:
    """Tokenise what is trained on."""
    if max_length is None:
        return items(target.domain, target.train, tokenizer)
    kept = list(short_items(target.domain, target.train, tokenizer, max_length).values())
    if not kept:
        longest = min(max_length, tokenizer.model_max_length)
        raise LaloraError(
            f"{target.domain.name} ({target.origin}): none of {len(target.train)} training rows has at most {longest} "
            "tokens; raise max_length"
        )
    return kept


def evaluation_set(
    study: StudySettings, data: list[DomainData], tokenizer: PreTrainedTokenizerBase, folder: Path, rows: int
) -> EvalSet:
    """Prepare what models are measured on."""
    return EvalSet.prepare(
        data,
        tokenizer,
        folder,
        scored_rows=rows,
        accuracy_rows=study.accuracy_rows,
        target_accuracy_rows=study.target_accuracy_rows,
        max_length=study.max_length,
        max_new_tokens=study.max_new_tokens,
        batch_size=study.evaluation_batch_size,
    )


def load_all(places: Mapping[str, Place], role: Role | None = None) -> list[DomainData]:
    """Load domains; without a role each in its usual one."""
    return [load_domain(name, place, role) for name, place in places.items()]


def limit_to_context(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Tell a tokenizer how much its model can read; many do not know."""
    context = getattr(config, "max_position_embeddings", None)
    if context is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, context)
