"""What a study found, shown three ways: tables in the terminal, pictures, one HTML page."""

from lalora.extras import named_if_missing

with named_if_missing():
    from lalora.report.drawing import draw
    from lalora.report.findings import Findings
    from lalora.report.front import front_table, sentences
    from lalora.report.front_page import draw_front
    from lalora.report.headline import headline
    from lalora.report.terminal import terminal_tables

__all__ = [
    "Findings",
    "draw",
    "draw_front",
    "front_table",
    "headline",
    "sentences",
    "terminal_tables",
]
