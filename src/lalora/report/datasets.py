"""What happened on each data set by itself, which the means over sources hide."""

from dataclasses import dataclass

from lalora.report.schema import Evaluation, Results
from lalora.report.summary import difference, label


@dataclass(frozen=True)
class DatasetRow:
    """One model on one data set; loss, rise and KL in nats per token."""

    label: str
    run: int | None
    loss: float | None
    rise: float | None
    kl: float | None
    accuracy: float | None


def by_dataset(results: Results) -> dict[str, list[DatasetRow]]:
    """Returns the base model and every finished run on every data set that the base model was measured on."""
    finished = [(index, run.final) for index, run in enumerate(results.runs) if run.final is not None]
    return {
        name: [
            _row("Base model", None, name, results.base, results.base),
            *(_row(label(results, results.runs[i]), i, name, final, results.base) for i, final in finished),
        ]
        for name in dict.fromkeys([*results.base.loss, *results.base.accuracy])
    }


def _row(text: str, run: int | None, name: str, measured: Evaluation, base: Evaluation) -> DatasetRow:
    loss = measured.loss.get(name)
    rise = None if run is None else difference(loss, base.loss.get(name))
    return DatasetRow(text, run, loss, rise, measured.kl.get(name), measured.accuracy.get(name))
