"""What a study found, shown three ways: a table in the terminal, two pictures, one HTML page."""

from lalora.report.calibration_table import calibration_tables
from lalora.report.costs import cost_tables
from lalora.report.drawing import draw
from lalora.report.front import front_table, sentences
from lalora.report.front_page import draw_front
from lalora.report.headline import headline
from lalora.report.loading import load_results
from lalora.report.merging import merged
from lalora.report.published import published_tables
from lalora.report.selection import selection_tables
from lalora.report.terminal import terminal_table

__all__ = [
    "calibration_tables",
    "cost_tables",
    "draw",
    "draw_front",
    "front_table",
    "headline",
    "load_results",
    "merged",
    "published_tables",
    "selection_tables",
    "sentences",
    "terminal_table",
]
