"""The few numbers that stand large at the top of the page."""

from dataclasses import dataclass

from lalora.report import numbers
from lalora.report.headline import best, groups
from lalora.report.schema import Results
from lalora.report.summary import PLAIN


@dataclass(frozen=True)
class Tile:
    """A number, what it is, and what it is compared with."""

    value: str
    caption: str
    detail: str


def tiles(results: Results) -> list[Tile]:
    """Returns what the best other method did against plain LoRA; none where there is nothing to compare."""
    winner = best(results)
    plain = next((group for group in groups(results) if group.method == PLAIN), None)
    if winner is None or plain is None:
        return []
    found = [
        Tile(
            numbers.percent(winner.removed),
            "of plain LoRA's forgetting removed",
            f"KL on source text {numbers.nats(plain.source_kl)} → {numbers.nats(winner.source_kl)}",
        ),
        Tile(
            numbers.percent(winner.kept),
            "of plain LoRA's learning kept",
            f"target loss {numbers.nats(plain.target_loss)} → {numbers.nats(winner.target_loss)}",
        ),
    ]
    if plain.step_seconds and winner.step_seconds:
        found.append(
            Tile(
                numbers.factor(winner.step_seconds / plain.step_seconds),
                "of plain LoRA's time per step",
                f"{numbers.seconds(plain.step_seconds)} s → {numbers.seconds(winner.step_seconds)} s, median",
            )
        )
    return found
