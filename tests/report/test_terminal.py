from copy import deepcopy
from typing import Any

from rich.console import Console

from lalora.report import terminal_tables
from made_up_study import found


def shown(results: dict[str, Any]) -> str:
    console = Console(width=100, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(*terminal_tables(found(results)))
    return capture.get()


def test_fits_in_100_columns_and_cuts_nothing(results: dict[str, Any]) -> None:
    results["runs"][2]["label"] = "LaLoRA λ=1000000 with a long name"
    for run in deepcopy(results["runs"]):
        results["runs"].append({**run, "seed": 1, "step_seconds": 1234.56})
    text = shown(results)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text


def test_has_a_row_for_the_base_and_one_a_run(results: dict[str, Any]) -> None:
    text = shown(results)
    for label in ("Base model", "LoRA ", "LaLoRA λ=1 ", "LaLoRA λ=10"):
        assert label in text
    assert "+0.121" in text and "5.52" in text and "60%" in text


def test_missing_numbers_are_dashes(results: dict[str, Any]) -> None:
    results["runs"][0] = {"name": "a", "method": "lora", "label": "LoRA"}
    line = next(line for line in shown(results).splitlines() if line.strip().startswith("LoRA"))
    assert line.split() == ["LoRA", *["\N{EN DASH}"] * 10]


def test_labels_are_not_markup(results: dict[str, Any]) -> None:
    results["runs"][0]["label"] = "[bold]x[/]"
    assert "[bold]x[/]" in shown(results)
