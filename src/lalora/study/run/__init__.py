"""One run: its start, its training, what is measured of it."""
