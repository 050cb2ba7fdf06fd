"""The `lalora` command."""
