"""One row a run: what it learned, what it forgot, and both as shares of what plain LoRA did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from lalora.results.schema import Evaluation, Results, Run

PLAIN = "lora"
"""The method that every other one is compared with."""


@dataclass(frozen=True)
class Row:
    """The numbers of one run at its end; losses and KL in nats per token, shares as fractions.

    `run` is its place among the runs of the study, None for the base model. Those that end in `against_plain` are
    differences from plain LoRA of the same seed, which for plain LoRA itself are 0.
    """

    run: int | None
    name: str
    label: str
    method: str
    target_loss: float | None
    source_loss: float | None
    source_rise: float | None
    source_kl: float | None
    heldout_kl: float | None
    source_accuracy: float | None
    target_accuracy: float | None
    gain: float | None
    forgetting_removed: float | None
    gain_kept: float | None
    step_seconds: float | None
    target_loss_against_plain: float | None = None
    source_loss_against_plain: float | None = None
    source_kl_against_plain: float | None = None
    source_accuracy_against_plain: float | None = None
    target_accuracy_against_plain: float | None = None


def difference(minuend: float | None, subtrahend: float | None) -> float | None:
    """Returns `minuend - subtrahend`, None where one of them is missing."""
    return None if minuend is None or subtrahend is None else minuend - subtrahend


def average(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the values that were measured, None where none was."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def share(part: float | None, whole: float | None) -> float | None:
    """Returns `part / whole`, None where one is missing or the whole is not positive."""
    return None if part is None or whole is None or whole <= 0 else part / whole


def plain_partner(results: Results, run: Run, keys: Sequence[str] = ()) -> Run | None:
    """Returns the finished plain LoRA run of the same seed, which alone a run is compared with.

    Where there are several, one that agrees with the run in the settings named by `keys`, as far as it has them.
    """
    # The first of several is the study's own; others, such as plain LoRA at a lower learning rate, are rivals.
    own = _study(run)
    partners = [other for other in results.runs if other.method == PLAIN and other.seed == run.seed]
    # Where several studies are compared, each has its own first.
    partners.sort(key=lambda other: (_study(other) != own, any(_differs(other, run, key) for key in keys)))
    return next((other for other in partners if other.final is not None), None)


def _differs(one: Run, other: Run, key: str) -> bool:
    return key in one.settings and one.settings[key] != other.settings.get(key)


def _study(run: Run) -> str:
    return run.name.rpartition("/")[0]


def rows(results: Results, labels: Sequence[str]) -> list[Row]:
    """Returns the base model's row, then one a run, in the order of the study; an unfinished run has no numbers."""
    base = _row(None, "base", "Base model", "", results.base, results.base, None, None)
    return [base, *(_run_row(results, place, text) for place, text in enumerate(labels))]


def _run_row(results: Results, place: int, text: str) -> Row:
    run = results.runs[place]
    partner = plain_partner(results, run)
    plain = None if partner is None or partner is run else partner.final
    final = run.final or Evaluation()
    row = _row(place, run.name, text, run.method, results.base, final, plain, run.step_seconds)
    return _against_plain(row, final, (partner and partner.final) or Evaluation())


def _against_plain(row: Row, final: Evaluation, plain: Evaluation) -> Row:
    return replace(
        row,
        target_loss_against_plain=difference(final.target_loss, plain.target_loss),
        source_loss_against_plain=difference(final.source_loss, plain.source_loss),
        source_kl_against_plain=difference(final.source_kl, plain.source_kl),
        source_accuracy_against_plain=difference(final.source_accuracy, plain.source_accuracy),
        target_accuracy_against_plain=difference(final.target_accuracy, plain.target_accuracy),
    )


def _row(
    run: int | None,
    name: str,
    text: str,
    method: str,
    base: Evaluation,
    final: Evaluation,
    plain: Evaluation | None,
    step_seconds: float | None,
) -> Row:
    gain = difference(base.target_loss, final.target_loss)
    removed = kept = None
    if plain is not None:
        left = share(final.source_kl, plain.source_kl)
        removed = difference(1.0, left)
        kept = share(gain, difference(base.target_loss, plain.target_loss))
    is_base = run is None
    return Row(
        run=run,
        name=name,
        label=text,
        method=method,
        target_loss=final.target_loss,
        source_loss=final.source_loss,
        source_rise=None if is_base else difference(final.source_loss, base.source_loss),
        source_kl=final.source_kl,
        heldout_kl=final.heldout_kl,
        source_accuracy=final.source_accuracy,
        target_accuracy=final.target_accuracy,
        gain=None if is_base else gain,
        forgetting_removed=removed,
        gain_kept=kept,
        step_seconds=step_seconds,
    )
