"""`python -m lalora` is `lalora`."""

from lalora.cli import main

main()
