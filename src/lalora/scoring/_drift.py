"""`lalora.drift`: what a fine-tuned model forgot, measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lalora.adapter import peft_model
from lalora.errors import LaloraError
from lalora.scoring._interval import interval
from lalora.scoring._rows import RowScores
from lalora.scoring._text import score_rows
from lalora.text import Text, batches_of_sources

Batches = Iterable[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Drift:
    """How far a model has drifted from its base, in nats per completion token, averaged over texts.

    Attributes:
        kl: KL(base ‖ model) of the next-token distributions.
        low: Lower end of its 95 % interval, by bootstrap over rows.
        high: Upper end.
        loss: Negative log-likelihood under the model.
        tokens: Completion tokens, of all texts.
        texts: What was measured on each row, by name of the text.
    """

    kl: float
    low: float
    high: float
    loss: float
    tokens: int
    texts: Mapping[str, RowScores]

    def __str__(self) -> str:
        """Say it in a line, and in one for each of several texts."""
        rows = sum(len(text.tokens) for text in self.texts.values())
        lines = [
            f"KL(base ‖ model) {self.kl:.4f} nats per token (95 % {self.low:.4f} to {self.high:.4f}), "
            f"loss {self.loss:.4f}, {self.tokens:,} tokens in {rows:,} rows"
        ]
        if len(self.texts) > 1:
            lines += [
                f"  {name}: KL {text.mean_kl:.4f}, loss {text.mean_loss:.4f}" for name, text in self.texts.items()
            ]
        return "\n".join(lines)


def drift(
    model: nn.Module,
    text: Mapping[str, Batches] | Batches | Text,
    *,
    base: nn.Module | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
) -> Drift:
    """Measure how far a model has drifted from its base on a text: KL(base ‖ model) over completion tokens.

    The model is left unchanged: modes, trainability, random state.

    Args:
        model: A PEFT LoRA model; its base is the model with the adapter switched off.
        text: Batches as in `lalora.fit`, by name or one text alone, that nothing was trained or fitted on. With
            `tokenizer`, whatever `lalora.source_batches` takes.
        base: The base model, where switching the adapter off does not give it.
        tokenizer: Of the model, where the text is no batches yet.
        seed: Of the draw of rows and of the bootstrap.

    Returns:
        The mean over texts, its interval, and each text's rows.

    Raises:
        LaloraError: If the text is empty or malformed, or there is no base to compare with.
    """
    adapted = peft_model(model)
    found = batches_of_sources(text, tokenizer, adapted, seed)
    named = found if isinstance(found, Mapping) and "input_ids" not in found else {"text": found}
    if not named:
        raise LaloraError("there is no text to measure the drift on")
    scores = {str(name): score_rows(adapted, batches, base) for name, batches in named.items()}
    kl = interval(scores, seed)
    loss = sum(one.mean_loss for one in scores.values()) / len(scores)
    tokens = sum(int(one.tokens.sum()) for one in scores.values())
    return Drift(kl.mean, kl.low, kl.high, loss, tokens, scores)
