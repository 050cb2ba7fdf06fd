"""What the Laplace approximation of a run predicted while it trained, beside the drift that was measured."""

from typing import Any

from lalora.report.findings import Findings
from lalora.report.panels.panel import Panel
from lalora.report.seeds import band
from lalora.report.series import predictions
from lalora.results.pareto import Point


class PredictionPanel(Panel):
    """Predicted against measured KL, and both over the steps."""

    name = "prediction"
    title = "Predicted and measured"
    template = "prediction.html"
    scripts = ("prediction.js",)

    def __init__(self, findings: Findings) -> None:
        """Reads the predictions of all runs."""
        super().__init__(findings)
        self.runs = [predictions(run) for run in findings.results.runs]

    @property
    def is_empty(self) -> bool:
        """Whether no run predicted anything."""
        return not any(self.runs)

    def plots(self) -> dict[str, Any]:
        """Returns (step, predicted, measured) by run, and by label the mean and deviation over its seeds of each."""
        labels = [[self.runs[run] for run in seeds.runs] for seeds in self.findings.seeds]
        return {
            "predictions": {
                "runs": self.runs,
                "predicted": [_band([[(step, value) for step, value, _ in one] for one in of]) for of in labels],
                "measured": [_band([[(step, value) for step, _, value in one] for one in of]) for of in labels],
            }
        }


def _band(curves: list[list[Point]]) -> list[list[float]]:
    return [[step, at.mean, at.low, at.high] for step, at in band(curves)]
