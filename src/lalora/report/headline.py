"""What happened, in two sentences made from the numbers alone."""

from dataclasses import dataclass
from typing import Any

from lalora.report.numbers import nats, percent
from lalora.report.schema import Results, parse
from lalora.report.seeds import by_label
from lalora.report.summary import PLAIN, Row, average, run_row

ENOUGH_GAIN = 0.8
"""The share of plain LoRA's gain that a run must keep to count as having learned the target."""


@dataclass(frozen=True)
class Group:
    """The seeds of one method at one strength, averaged; None where no seed was measured."""

    label: str
    method: str
    runs: int
    target_loss: float | None
    source_kl: float | None
    gain: float | None
    removed: float | None
    kept: float | None
    step_seconds: float | None


def groups(results: Results) -> list[Group]:
    """Returns the runs of a study, averaged over seeds."""
    return [
        _group(seeds.label, [run_row(results, results.runs[run]) for run in seeds.runs]) for seeds in by_label(results)
    ]


def best(results: Results) -> Group | None:
    """Returns the group that forgot least of those that learned enough, else the best compromise."""
    compared = [g for g in groups(results) if g.removed is not None and g.kept is not None]
    learned = [g for g in compared if _value(g.kept) >= ENOUGH_GAIN]
    if learned:
        return max(learned, key=lambda g: _value(g.removed))
    return max(compared, key=lambda g: _value(g.removed) + _value(g.kept), default=None)


def headline(results: dict[str, Any]) -> str:
    """Returns what the study found, in one or two sentences.

    Raises:
        LaloraError: the results have another format or lack a field.
    """
    return compose(parse(results))


def compose(results: Results) -> str:
    """Returns what the study found, in one or two sentences."""
    every = groups(results)
    plain = next((g for g in every if g.method == PLAIN and g.gain is not None), None)
    if plain is None:
        return _without_plain(results, every)
    before = nats(results.base.target_loss)
    seeds = f" (means of {plain.runs} seeds)" if plain.runs > 1 else ""
    if _value(plain.gain) <= 0:
        return (
            f"Plain LoRA did not learn the target{seeds}: its loss went from {before} to {nats(plain.target_loss)} "
            "nats per token, so there is no gain to compare other methods with."
        )
    first = f"Plain LoRA lowered the target loss from {before} to {nats(plain.target_loss)}{seeds}"
    if plain.source_kl is None:
        return f"{first}; its drift on source text was not measured."
    first += f" and drifted {nats(plain.source_kl)} nats per token from the base model on source text."
    return f"{first} {_comparison(best(results))}".rstrip()


def _comparison(winner: Group | None) -> str:
    if winner is None:
        return ""
    kept, removed = percent(winner.kept), percent(abs(_value(winner.removed)))
    drift = f"removed {removed} of that drift" if _value(winner.removed) > 0 else f"drifted {removed} more"
    if _value(winner.kept) < ENOUGH_GAIN:
        failure = f"No other method kept {percent(ENOUGH_GAIN)} of that gain"
        return f"{failure}; the closest, {winner.label}, kept {kept} and {drift}."
    if _value(winner.removed) <= 0:
        return f"No method that learned as well drifted less: {winner.label} kept {kept} of the gain and {drift}."
    return f"{winner.label} kept {kept} of that gain and {drift}."


def _without_plain(results: Results, every: list[Group]) -> str:
    finished = [g for g in every if g.target_loss is not None]
    if not finished:
        return "No run has finished yet, so there is nothing to compare with the base model."
    winner = min(finished, key=lambda g: _value(g.target_loss))
    drift = f", with a drift on source text of {nats(winner.source_kl)} nats per token" if winner.source_kl else ""
    return (
        f"{winner.label} reached the lowest target loss: {nats(results.base.target_loss)} before, "
        f"{nats(winner.target_loss)} after{drift}. Without a finished run of plain LoRA there is nothing to compare "
        "its forgetting with."
    )


def _group(label: str, rows: list[Row]) -> Group:
    return Group(
        label=label,
        method=rows[0].method,
        runs=len(rows),
        target_loss=average(row.target_loss for row in rows),
        source_kl=average(row.source_kl for row in rows),
        gain=average(row.gain for row in rows),
        removed=average(row.forgetting_removed for row in rows),
        kept=average(row.gain_kept for row in rows),
        step_seconds=average(row.step_seconds for row in rows),
    )


def _value(number: float | None) -> float:
    return 0.0 if number is None else number
