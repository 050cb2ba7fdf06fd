"""A whole study: its runs in turn, in several processes or on a Ray cluster."""
