"""The head of the page: what happened in two sentences, and a few large numbers, made from the numbers alone."""

from dataclasses import dataclass

from lalora.report import formatting
from lalora.report.averages import ENOUGH_GAIN, Average, or_zero
from lalora.report.findings import Findings
from lalora.report.formatting import nats, percent
from lalora.report.rows import PLAIN


@dataclass(frozen=True)
class KeyFigure:
    """A number, what it is, and what it is compared with."""

    value: str
    caption: str
    detail: str


def headline(findings: Findings) -> str:
    """Returns what the study found, in one or two sentences."""
    plain = next((one for one in findings.averages if one.method == PLAIN and one.gain is not None), None)
    if plain is None:
        return _without_plain(findings)
    before = nats(findings.results.base.target_loss)
    seeds = f" (means of {plain.seeds} seeds)" if plain.seeds > 1 else ""
    if or_zero(plain.gain) <= 0:
        return (
            f"Plain LoRA did not learn the target{seeds}: its loss went from {before} to {nats(plain.target_loss)} "
            "nats per token, so there is no gain to compare other methods with."
        )
    first = f"Plain LoRA lowered the target loss from {before} to {nats(plain.target_loss)}{seeds}"
    if plain.source_kl is None:
        return f"{first}; its drift on source text was not measured."
    first += f" and drifted {nats(plain.source_kl)} nats per token from the base model on source text."
    return f"{first} {_comparison(findings.best)}".rstrip()


def key_figures(findings: Findings) -> list[KeyFigure]:
    """Returns what the best other method did against plain LoRA; none where there is nothing to compare."""
    winner = findings.best
    plain = next((one for one in findings.averages if one.method == PLAIN), None)
    if winner is None or plain is None:
        return []
    found = [
        KeyFigure(
            percent(winner.removed),
            "of plain LoRA's forgetting removed",
            f"KL on source text {nats(plain.source_kl)} → {nats(winner.source_kl)}",
        ),
        KeyFigure(
            percent(winner.kept),
            "of plain LoRA's learning kept",
            f"target loss {nats(plain.target_loss)} → {nats(winner.target_loss)}",
        ),
    ]
    if plain.step_seconds and winner.step_seconds:
        found.append(
            KeyFigure(
                formatting.factor(winner.step_seconds / plain.step_seconds),
                "of plain LoRA's time per step",
                f"{formatting.seconds(plain.step_seconds)} s → {formatting.seconds(winner.step_seconds)} s, median",
            )
        )
    return found


def _comparison(winner: Average | None) -> str:
    if winner is None:
        return ""
    kept, removed = percent(winner.kept), percent(abs(or_zero(winner.removed)))
    drift = f"removed {removed} of that drift" if or_zero(winner.removed) > 0 else f"drifted {removed} more"
    if or_zero(winner.kept) < ENOUGH_GAIN:
        failure = f"No other method kept {percent(ENOUGH_GAIN)} of that gain"
        return f"{failure}; the closest, {winner.label}, kept {kept} and {drift}."
    if or_zero(winner.removed) <= 0:
        return f"No method that learned as well drifted less: {winner.label} kept {kept} of the gain and {drift}."
    return f"{winner.label} kept {kept} of that gain and {drift}."


def _without_plain(findings: Findings) -> str:
    finished = [one for one in findings.averages if one.target_loss is not None]
    if not finished:
        return "No run has finished yet, so there is nothing to compare with the base model."
    winner = min(finished, key=lambda one: or_zero(one.target_loss))
    drift = f", with a drift on source text of {nats(winner.source_kl)} nats per token" if winner.source_kl else ""
    return (
        f"{winner.label} reached the lowest target loss: {nats(findings.results.base.target_loss)} before, "
        f"{nats(winner.target_loss)} after{drift}. Without a finished run of plain LoRA there is nothing to compare "
        "its forgetting with."
    )
