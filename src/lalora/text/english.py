"""A small text that comes with the package, for whoever has none."""

from pathlib import Path

ENGLISH = "english"
"""Its name."""
ENGLISH_FILE = Path(__file__).with_name("english.txt")
"""48 paragraphs of about a hundred words, written for this package; each is a row."""
