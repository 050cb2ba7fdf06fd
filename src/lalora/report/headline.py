"""The head of the page: what happened in two sentences, and a few large numbers, made from the numbers alone."""

from dataclasses import dataclass, replace

from lalora.report import formatting
from lalora.report.averages import ENOUGH_GAIN, Average, or_zero
from lalora.report.findings import Findings
from lalora.report.formatting import nats, percent
from lalora.report.means import with_deviation
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
    before, after = nats(findings.results.base.target_loss), with_deviation(plain.target_loss, nats)
    seeds = f" (means of {plain.seeds} seeds ± one standard deviation)" if plain.seeds > 1 else ""
    if or_zero(plain.gain) <= 0:
        return (
            f"Plain LoRA did not learn the target{seeds}: its loss went from {before} to {after} "
            "nats per token, so there is no gain to compare other methods with."
        )
    first = f"Plain LoRA lowered the target loss from {before} to {after}{seeds}"
    if plain.source_kl is None:
        return f"{first}; its drift on source text was not measured."
    first += f" and drifted {with_deviation(plain.source_kl, nats)} nats per token from the base model on source text."
    return f"{first} {_comparison(findings.best)}".rstrip()


def key_figures(findings: Findings) -> list[KeyFigure]:
    """Returns what the best other method did against plain LoRA; none where there is nothing to compare."""
    winner = findings.best
    plain = next((one for one in findings.averages if one.method == PLAIN), None)
    if winner is None or plain is None:
        return []
    found = [
        KeyFigure(
            with_deviation(winner.removed, percent),
            "of plain LoRA's forgetting removed",
            f"KL on source text {with_deviation(plain.source_kl, nats)} → {with_deviation(winner.source_kl, nats)}",
        ),
        KeyFigure(
            with_deviation(winner.kept, percent),
            "of plain LoRA's learning kept",
            f"target loss {with_deviation(plain.target_loss, nats)} → {with_deviation(winner.target_loss, nats)}",
        ),
    ]
    if or_zero(plain.step_seconds) and or_zero(winner.step_seconds):
        before, after = or_zero(plain.step_seconds), or_zero(winner.step_seconds)
        found.append(
            KeyFigure(
                formatting.factor(after / before),
                "of plain LoRA's time per step",
                f"{formatting.seconds(before)} s → {formatting.seconds(after)} s, median",
            )
        )
    return found


def _comparison(winner: Average | None) -> str:
    if winner is None:
        return ""
    kept = with_deviation(winner.kept, percent)
    if winner.removed is None or winner.removed.mean > 0:
        drift = f"removed {with_deviation(winner.removed, percent)} of that drift"
    else:
        drift = f"drifted {with_deviation(replace(winner.removed, mean=-winner.removed.mean), percent)} more"
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
    drift = ""
    if or_zero(winner.source_kl):
        drift = f", with a drift on source text of {with_deviation(winner.source_kl, nats)} nats per token"
    return (
        f"{winner.label} reached the lowest target loss: {nats(findings.results.base.target_loss)} before, "
        f"{with_deviation(winner.target_loss, nats)} after{drift}. Without a finished run of plain "
        "LoRA there is nothing to compare its forgetting with."
    )
