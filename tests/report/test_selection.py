"""What was chosen, in terminal and page."""

from __future__ import annotations

from typing import Any

from lalora.report.panels.selection import SelectionPanel, interval
from lalora.report.terminal import printed
from lalora.results import parse
from made_up_study import found, page


def comparison(
    label: str, metric: str, mean: float, ends: tuple[float | None, float | None], sure: bool
) -> dict[str, Any]:
    seeds = 1 if ends[0] is None else 3
    return {
        "label": label, "metric": metric, "mean": mean, "low": ends[0], "high": ends[1], "seeds": seeds, "sure": sure,
    }  # fmt: skip


SELECTION = {
    "learning": "target_loss",
    "keeping": "source_accuracy",
    "alpha": 0.7,
    "floor": 0.4,
    "baseline": "LoRA",
    "methods": [
        {
            "method": "lalora",
            "knob": "strength",
            "settings": [
                {"label": "LaLoRA λ=1", "learning": 0.862, "keeping": 0.41, "score": 0.7},
                {"label": "LaLoRA λ=10", "learning": 0.931, "keeping": 0.43, "score": 0.3},
            ],
            "stability": "LaLoRA λ=10",
            "plasticity": "LaLoRA λ=1",
            "above_floor": "LaLoRA λ=1",
            "hypervolume": 0.01,
        }
    ],
    "comparisons": [
        comparison("LaLoRA λ=1", "source_kl", -0.1, (-0.2, -0.05), True),
        comparison("LaLoRA λ=1", "target_accuracy", 0.02, (-0.01, 0.04), False),
        comparison("LaLoRA λ=10", "heldout_kl", 0.0, (None, None), False),
    ],
}


def cells(table: Any) -> str:
    return "\n".join(str(cell) for column in table.columns for cell in column.cells)


def test_choice_and_comparison(results: dict[str, Any]) -> None:
    assert SelectionPanel(found(results)).tables() == []
    chosen, compared = map(printed, SelectionPanel(found({**results, "selection": SELECTION})).tables())
    assert "plasticity, floor" in cells(chosen)
    assert "41.0%" in cells(chosen)
    selection = parse({**results, "selection": SELECTION}).selection
    assert selection is not None
    assert [interval(one) for one in selection.comparisons] == [
        "−0.200 to −0.050, 3 seeds",
        "−1.0 pp to +4.0 pp, 3 seeds: undecided",
        "1 seed: no interval",
    ]
    assert "held-out KL" in cells(compared)


def test_the_page_tells_by_what_was_chosen(results: dict[str, Any]) -> None:
    assert "Selected settings" not in page(results)
    text = page({**results, "selection": SELECTION})
    assert "most learned with source accuracy at 0.4 or better" in text
    without = page({**results, "selection": {**SELECTION, "floor": None}})
    assert "within each method&#39;s own settings, LoRA as λ = 0 of the first LaLoRA&#39;s." in without
    assert "or better" not in without
    assert "−1.0 pp to +4.0 pp, 3 seeds: undecided" in text
