"""The head of the page: what happened in two sentences, and a few large numbers, made from the numbers alone."""

from dataclasses import dataclass, replace
from enum import Enum

from lalora.report import formatting
from lalora.report.averages import ENOUGH_GAIN, Average, or_zero
from lalora.report.findings import Findings
from lalora.report.formatting import nats, percent
from lalora.report.means import with_deviation
from lalora.report.rows import PLAIN
from lalora.report.seeds import Spread

ABOUT_AS_LONG = (0.9, 1.1)
"""Between these factors the times of two steps differ no more than two measurements of one step do."""


class Verdict(Enum):
    """What the seeds tell of a method's drift against plain LoRA's."""

    ONE_SEED = "one seed"
    UNDECIDED = "undecided"
    LESS = "less"
    MORE = "more"


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
    drift = f"{with_deviation(plain.source_kl, nats)} nats per token from the base model on source text"
    if not plain.drifted:
        return f"{first}. It drifted {drift}, which cannot be told from no drift, so there is no forgetting to remove."
    return f"{first} and drifted {drift}. {_comparison(findings)}".rstrip()


def key_figures(findings: Findings) -> list[KeyFigure]:
    """Returns what the best other method did against plain LoRA; none where there is nothing to compare."""
    winner = findings.best
    plain = next((one for one in findings.averages if one.method == PLAIN), None)
    if winner is None or plain is None:
        return []
    found = [
        KeyFigure(
            *_drift_figure(winner, verdict(findings, winner)),
            f"KL on source text {with_deviation(plain.source_kl, nats)} → {with_deviation(winner.source_kl, nats)}",
        ),
        KeyFigure(
            with_deviation(winner.kept, percent),
            "of plain LoRA's learning" + (", one seed" if winner.seeds == 1 else " kept"),
            f"target loss {with_deviation(plain.target_loss, nats)} → {with_deviation(winner.target_loss, nats)}",
        ),
    ]
    if or_zero(plain.step_seconds) and or_zero(winner.step_seconds):
        before, after = or_zero(plain.step_seconds), or_zero(winner.step_seconds)
        same = ABOUT_AS_LONG[0] <= after / before <= ABOUT_AS_LONG[1]
        found.append(
            KeyFigure(
                "≈ 1×" if same else formatting.factor(after / before),
                "a step takes about as long as plain LoRA's" if same else "of plain LoRA's time per step",
                f"{formatting.seconds(before)} s → {formatting.seconds(after)} s, median",
            )
        )
    return found


def verdict(findings: Findings, winner: Average) -> Verdict:
    """Returns what the paired interval over seeds tells; never more than the statistics on the page do."""
    difference = winner.drift_difference
    if difference is None or difference.seeds < 2:
        return Verdict.ONE_SEED
    selection = findings.results.selection
    corrected = [] if selection is None else selection.comparisons
    doubted = any(one.label == winner.label and one.metric == "source_kl" and not one.sure for one in corrected)
    if doubted or not difference.excludes_zero:
        return Verdict.UNDECIDED
    return Verdict.LESS if difference.mean < 0 else Verdict.MORE


def _drift_figure(winner: Average, found: Verdict) -> tuple[str, str]:
    if found is Verdict.LESS:
        return with_deviation(winner.removed, percent), "of plain LoRA's forgetting removed"
    told = {Verdict.ONE_SEED: ", one seed", Verdict.UNDECIDED: ": undecided whether less", Verdict.MORE: ": more"}
    return with_deviation(_left(winner), percent), "of plain LoRA's drift" + told[found]


def _left(winner: Average) -> Spread | None:
    """Returns the winner's drift as a share of plain LoRA's."""
    return None if winner.removed is None else replace(winner.removed, mean=1 - winner.removed.mean)


def _more(winner: Average) -> Spread | None:
    return None if winner.removed is None else replace(winner.removed, mean=-winner.removed.mean)


def _comparison(findings: Findings) -> str:
    winner = findings.best
    if winner is None:
        return ""
    found, enough = verdict(findings, winner), or_zero(winner.kept) >= ENOUGH_GAIN
    kept, left = with_deviation(winner.kept, percent), with_deviation(_left(winner), percent)
    if found is Verdict.ONE_SEED:
        few = "" if enough else f" (no other method reached {percent(ENOUGH_GAIN)})"
        return f"One seed: {winner.label} reached {kept} of that gain{few} at {left} of that drift."
    if found is Verdict.UNDECIDED:
        drift = f"drifted {left} as much: undecided, {_interval(winner)}"
    elif found is Verdict.LESS:
        drift = f"removed {with_deviation(winner.removed, percent)} of that drift"
    else:
        drift = f"drifted {with_deviation(_more(winner), percent)} more"
    if not enough:
        failure = f"No other method kept {percent(ENOUGH_GAIN)} of that gain"
        return f"{failure}; the closest, {winner.label}, kept {kept} and {drift}."
    if found is Verdict.MORE:
        return f"No method that learned as well drifted less: {winner.label} kept {kept} of the gain and {drift}."
    return f"{winner.label} kept {kept} of that gain and {drift}."


def _interval(winner: Average) -> str:
    difference = winner.drift_difference
    assert difference is not None
    low, high = formatting.change(difference.low), formatting.change(difference.high)
    mean = formatting.change(difference.mean)
    return f"the difference over {difference.seeds} paired seeds is {mean} (95% interval {low} to {high})"


def _without_plain(findings: Findings) -> str:
    finished = [one for one in findings.averages if one.target_loss is not None]
    if not finished:
        return "No run has finished yet, so there is nothing to compare with the base model."
    winner = min(finished, key=lambda one: or_zero(one.target_loss))
    drift, seeds = "", " (one seed)" if winner.seeds == 1 else ""
    if or_zero(winner.source_kl):
        drift = f", with a drift on source text of {with_deviation(winner.source_kl, nats)} nats per token"
    return (
        f"{winner.label} reached the lowest target loss: {nats(findings.results.base.target_loss)} before, "
        f"{with_deviation(winner.target_loss, nats)} after{drift}{seeds}. Without a finished run of plain "
        "LoRA there is nothing to compare its forgetting with."
    )
