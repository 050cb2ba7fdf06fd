"""What a study found, as a file: written by studies, read by reports, without torch."""

from lalora.results.load import load_results, parse
from lalora.results.merge import merged
from lalora.results.schema import FORMAT, Results, Run

__all__ = ["FORMAT", "Results", "Run", "load_results", "merged", "parse"]
