"""A Trainer class of somebody else with the methods and the budget that a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import Trainer

from lalora.errors import LaloraError
from lalora.integrations._options import Options
from lalora.text import Text, batches_of_sources
from lalora.training import MethodMixin


def trainer_class(kind: type[Trainer], options: Options) -> type[Trainer]:
    """Put `MethodMixin` in front of a class that its builder calls with arguments of its own."""

    class LaloraTrainer(MethodMixin, kind):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **asked(options, kwargs), **kwargs)

    return LaloraTrainer


def asked(options: Options, builder: Mapping[str, Any]) -> dict[str, Any]:
    """Turn options into the arguments of `MethodMixin`.

    Args:
        options: Of the configuration.
        builder: What the class is called with: model, processing_class and args are of use.

    Raises:
        LaloraError: If text cannot be read, or is too short to fit and to measure on.
    """

    def batches(text: Text) -> dict[str, Any]:
        named = text if isinstance(text, Mapping) else {"source": text}
        tokenizer, seed = builder.get("processing_class"), builder["args"].seed
        return dict(batches_of_sources(named, tokenizer, builder["model"], seed))

    found: dict[str, Any] = {"methods": options.methods()}
    sources = batches(options.sources) if options.sources else {}
    if options.budget is not None:
        measured = batches(options.budget_sources) if options.budget_sources else None
        if measured is None:
            sources, measured = _halves(sources)
        found |= {"budget": options.budget, "budget_batches": measured, "budget_by": options.budget_by}
    return found | {"sources": sources}


def _halves(sources: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if short := [name for name, batches in sources.items() if len(batches) < 2]:
        raise LaloraError(
            f"lalora.sources: '{short[0]}' is one batch of rows, too few to fit on some and measure the budget on "
            "others: give more text, or budget_sources"
        )
    return tuple({name: batches[first::2] for name, batches in sources.items()} for first in (0, 1))  # type: ignore[return-value]
